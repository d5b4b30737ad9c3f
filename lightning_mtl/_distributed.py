"""The only file that talks to the other ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor

SHARDED = (FSDPStrategy, ModelParallelStrategy)
"""Strategies that cut parameters over the ranks."""


def world_size() -> int:
    """Count the ranks of this run; 1 where there is no process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_objects(value: Any) -> list[Any]:
    """Collect a value of plain data from all ranks, in their order."""
    found = [value] * world_size()
    if len(found) > 1:
        dist.all_gather_object(found, value)
    return found


def of_first_rank(value: Any) -> Any:
    """Give all ranks what the first one has, a value of plain data."""
    held = [value]
    if world_size() > 1:
        dist.broadcast_object_list(held)
    return held[0]


def sum_dtype(device: torch.device) -> torch.dtype:
    """Name the type in which ranks add up on this device: one for all ranks, whatever the types of their data."""
    return torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Add up a tensor over all ranks, in place; with one process, do nothing."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor
