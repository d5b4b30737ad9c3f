"""State with a number for each task, of which a step may use only some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Index = Int64[Tensor, " present"] | None
"""The numbers of the present tasks; None stands for all tasks."""


def resize(
    old: Float[Tensor, " old"] | None, first: float, tasks: int, kept: Sequence[tuple[int, int]]
) -> Float[Tensor, " tasks"]:
    """Return a number for each task: the initial value, or the old number of tasks that are kept (new place, old place)."""
    new = torch.full((tasks,), first) if old is None else old.detach().new_full((tasks,), first)
    if old is not None and kept:
        places, old_places = (list(numbers) for numbers in zip(*kept, strict=True))
        new[places] = old.detach()[old_places]
    return new


def task_index(tasks: Sequence[int] | None, count: int, device: torch.device) -> Index:
    """Turn numbers of tasks into an index; it is cached, because creating one waits for the device."""
    if tasks is None or (len(tasks) == count and list(tasks) == list(range(count))):
        return None
    return _cached_index(tuple(tasks), device)


@lru_cache(maxsize=1024)
def _cached_index(tasks: tuple[int, ...], device: torch.device) -> Int64[Tensor, " present"]:
    return torch.tensor(tasks, dtype=torch.int64, device=device)


def take(state: Float[Tensor, " tasks"], where: Index) -> Float[Tensor, " present"]:
    """Return the numbers of the present tasks."""
    return state if where is None else state[where]


def put(state: Float[Tensor, " tasks"], where: Index, changed: Float[Tensor, " present"]) -> None:
    """Write back numbers that `take` returned and that were changed in place; if it returned the state itself, do nothing."""
    if where is not None:
        state[where] = changed


def at_least_float32(tensor: Tensor, moved: Tensor) -> Tensor:
    """Return a tensor that was moved or cast; a cast below float32 is undone, and only the device changes."""
    return tensor.to(moved.device) if moved.is_floating_point() and moved.itemsize < 4 else moved
