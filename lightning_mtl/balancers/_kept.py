"""Numbers of tasks, of which a step may need only some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Index = Int64[Tensor, " present"] | None
"""The numbers of the tasks that are there; None is all of them."""


def carried(
    old: Float[Tensor, " was"] | None, first: float, tasks: int, stays: Sequence[tuple[int, int]]
) -> Float[Tensor, " tasks"]:
    """Make a number for each task: the first value, or for those that stay (new place, old place) what they had."""
    new = torch.full((tasks,), first) if old is None else old.detach().new_full((tasks,), first)
    if old is not None and stays:
        places, was = (list(numbers) for numbers in zip(*stays, strict=True))
        new[places] = old.detach()[was]
    return new


def index(tasks: Sequence[int] | None, count: int, device: torch.device) -> Index:
    """Turn numbers of tasks into an index, once for each set of tasks, since making one waits for the device."""
    if tasks is None or (len(tasks) == count and list(tasks) == list(range(count))):
        return None
    return _index(tuple(tasks), device)


@lru_cache(maxsize=1024)
def _index(tasks: tuple[int, ...], device: torch.device) -> Int64[Tensor, " present"]:
    return torch.tensor(tasks, dtype=torch.int64, device=device)


def take(kept: Float[Tensor, " tasks"], there: Index) -> Float[Tensor, " present"]:
    """Read the numbers of the tasks that are there."""
    return kept if there is None else kept[there]


def put(kept: Float[Tensor, " tasks"], there: Index, changed: Float[Tensor, " present"]) -> None:
    """Write back what was taken and then changed in place; where all tasks were taken, that has changed what is kept."""
    if there is not None:
        kept[there] = changed


def wide(tensor: Tensor, moved: Tensor) -> Tensor:
    """Give a tensor that was moved or cast; one that would have lost precision below float32 is moved alone."""
    return tensor.to(moved.device) if moved.is_floating_point() and moved.itemsize < 4 else moved
