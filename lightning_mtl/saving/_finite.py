"""Weights that are not finite: they are never written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._distributed import gather_objects, local_part

_SHOWN = 3
"""Names in an error."""


def not_finite(tensors: Mapping[str, Any]) -> list[str]:
    """Return the names of the tensors that hold NaN or an infinity; it waits once for each device.

    Args:
        tensors: Tensors by name; what is none, or holds whole numbers, is left out.

    Example:
        >>> not_finite({"weight": torch.ones(2, 3), "bias": torch.tensor([0.0, torch.nan])})
        ['bias']
    """
    alike: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
    for name, value in tensors.items():
        held = local_part(value.detach()) if isinstance(value, Tensor) else None
        held = torch.view_as_real(held.resolve_conj()) if held is not None and held.is_complex() else held
        if held is not None and held.is_floating_point() and held.numel() and held.layout == torch.strided:
            alike.setdefault((held.device, held.dtype), {})[name] = held
    largest: dict[torch.device, list[tuple[list[str], Tensor]]] = {}
    for (device, dtype), group in alike.items():
        if device.type != "meta":
            values = list(group.values()) if dtype.itemsize > 1 else [each.float() for each in group.values()]
            norms = torch.stack(torch._foreach_norm(values, torch.inf)).isfinite()
            largest.setdefault(device, []).append((list(group), norms))
    found = set()
    for parts in largest.values():
        fine = torch.cat([norms for _, norms in parts]).tolist()
        names = [name for group, _ in parts for name in group]
        found |= {name for name, holds in zip(names, fine, strict=True) if not holds}
    return [name for name in tensors if name in found]


def unusual_tensors(module: Any) -> frozenset[str]:
    """Return the buffers and frozen parameters of a module that are not finite, as masks may be; call it before training."""
    learned = _learned(module)
    return frozenset(not_finite({name: of for name, of in module.state_dict().items() if name not in learned}))


def refuse_spoiled(module: Any, checkpoint: Mapping[str, Any]) -> None:
    """Check that the weights of a checkpoint are finite, averages and the optimizer's state too; all ranks must call it together.

    Args:
        module: The module of the checkpoint.
        checkpoint: What Lightning is about to write.

    Raises:
        ValueError: They are not, on any rank.
    """
    found = gather_objects(
        not_finite(
            _checked(module, checkpoint.get("state_dict", {})) | _averaged(module, checkpoint) | _kept(checkpoint)
        )
    )
    _refuse(next((names for names in found if names), []), f" at step {checkpoint.get('global_step', 0)}")


def refuse_spoiled_weights(module: Any, state: Mapping[str, Tensor]) -> None:
    """Check that the weights of a module are finite before they are written.

    Args:
        module: The module.
        state: Its state.

    Raises:
        ValueError: They are not.
    """
    _refuse(not_finite(_checked(module, state)), "")


def _learned(module: Any) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def _checked(module: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be finite: what is learned, and, after training, what was finite before it."""
    learned, unusual = _learned(module), module.unusual
    return {
        name: of
        for name, of in state.items()
        # What a balancer keeps of a task that it has not seen yet is NaN.
        if name in learned or (unusual is not None and name not in unusual and not name.startswith("balancer."))
    }


def _averaged(module: Any, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights that are averaged, and their averages, of the callbacks of Lightning that average weights."""
    states = {"the current model": checkpoint.get("current_model_state", {})}
    for state in checkpoint.get("callbacks", {}).values():
        if isinstance(state, Mapping) and state.get("average_model_state"):
            states["the averaged model"] = state["average_model_state"]
    return {f"{name} of {where}": of for where, state in states.items() for name, of in _checked(module, state).items()}


def _kept(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return what optimizers keep of each parameter, e.g. moving averages of its gradients."""
    return {
        f"{name} of parameter {parameter} in optimizer {number}": of
        for number, state in enumerate(checkpoint.get("optimizer_states", []))
        for parameter, kept in state.get("state", {}).items()
        if isinstance(kept, Mapping)
        for name, of in kept.items()
        if isinstance(of, Tensor) and of.ndim
    }


def _refuse(names: list[str], at: str) -> None:
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise ValueError(
            f"Weights and the state of optimizers{at} must be finite, got NaN or infinity in {', '.join(names[:_SHOWN])}{more}. Nothing was written, and "
            "what was written before is as it was: resume from the last checkpoint with a lower learning rate, "
            "`gradient_clip_val`, or another `loss`."
        )
