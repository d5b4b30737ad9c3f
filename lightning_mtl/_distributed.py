"""The only file that talks to the other ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

SHARDED = (FSDPStrategy, ModelParallelStrategy)
"""Strategies that shard parameters over the ranks."""


def world_size() -> int:
    """Return the number of ranks; 1 where there is no process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_connected() -> bool:
    """Return whether the ranks can talk to each other."""
    return dist.is_available() and dist.is_initialized()


def gather_objects(value: Any) -> list[Any]:
    """Collect a value of plain data from all ranks, in their order."""
    found = [value] * world_size()
    if len(found) > 1:
        dist.all_gather_object(found, value)
    return found


def of_first_rank(value: Any) -> Any:
    """Return the first rank's value, which is plain data, on all ranks."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def sum_dtype(device: torch.device) -> torch.dtype:
    """Return the data type of sums over ranks on this device: the same on all ranks, whatever the types of their data."""
    return torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64


def sum_over_ranks(tensor: Tensor, group: Any = None) -> Tensor:
    """Add up a tensor over all ranks, in place; with one process, do nothing."""
    if world_size() > 1:
        dist.all_reduce(tensor, group=group)
    return tensor


def max_over_ranks(tensor: Tensor) -> Tensor:
    """Take the highest of each number over all ranks, in place; with one process, do nothing."""
    if world_size() > 1:
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


def as_first_rank(tensor: Tensor, group: Any = None) -> Tensor:
    """Replace a tensor by that of the first rank, in place: other processors may round differently."""
    if world_size() > 1:
        dist.broadcast(tensor, 0, group=group)
    return tensor


def own_group() -> Any:
    """Make a process group of all ranks whose messages do not mix with others."""
    return dist.new_group()


def mean_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average the gradients of all ranks; a parameter that has none on any rank stays without."""
    present = torch.tensor([float(p.grad is not None) for p in parameters])
    found = sum_over_ranks(present.to(parameters[0].device)).tolist()
    chosen = [p for p, ranks in zip(parameters, found, strict=True) if ranks]
    for p in chosen:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    for dtype in {p.dtype for p in chosen}:
        gradients = [p.grad for p in chosen if p.grad is not None and p.dtype == dtype]
        flat = sum_over_ranks(torch.cat([gradient.flatten() for gradient in gradients])).div_(world_size())
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(of) for part, of in zip(parts, gradients, strict=True)])


def shard(parts: Iterable[nn.Module], mesh: Any, methods: Iterable[str] = ()) -> None:
    """Shard the parameters of each part over the ranks of a mesh (FSDP2), unless an earlier run has done so.

    Args:
        parts: The parts, inner ones first.
        mesh: The mesh.
        methods: Methods of each part that need its parameters, beside `forward`.
    """
    for part in parts:
        if not isinstance(part, FSDPModule):
            _make_scalars_vectors(part)
            fully_shard(part, mesh=mesh)
            for method in methods:
                register_fsdp_forward_method(part, method)


def _make_scalars_vectors(part: nn.Module) -> None:
    """Make vectors of single numbers, which cannot be sharded; `load_state_dict` reads them as numbers too."""
    for module in part.modules():
        for name, value in module.named_parameters(recurse=False):
            if value.ndim == 0:
                setattr(module, name, nn.Parameter(value.detach().reshape(1), requires_grad=value.requires_grad))


def flattens(strategy: Any) -> bool:
    """Return whether a strategy flattens many parameters into one vector."""
    return isinstance(strategy, FSDPStrategy | DeepSpeedStrategy)


def full_state(module: nn.Module) -> dict[str, Tensor]:
    """Copy the state of a module to the CPU, not sharded; all ranks must call it together."""
    state: dict[str, Tensor] = module.state_dict()
    with torch.inference_mode(False):  # an inference tensor could not be trained
        return {name: _unsharded(held.detach()).to("cpu", copy=True) for name, held in state.items()}


def load_full_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load into a module the state that `full_state` copied, or a part of it."""
    held = module.state_dict()
    with torch.inference_mode(False):
        module.load_state_dict({name: _sharded_as(held[name], value) for name, value in state.items()}, strict=False)


def local_part(tensor: Tensor) -> Tensor:
    """Return the part of a sharded tensor that this rank holds; another tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _unsharded(held: Tensor) -> Tensor:
    return held.full_tensor() if isinstance(held, DTensor) else held


def _sharded_as(held: Tensor, value: Tensor) -> Tensor:
    value = value.to(held.device)
    return distribute_tensor(value, held.device_mesh, held.placements) if isinstance(held, DTensor) else value
