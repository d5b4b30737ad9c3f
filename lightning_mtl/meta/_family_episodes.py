"""Episodes of a family of functions: some points of each function."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..families import Family
from ..task import ROWS, Task


class FamilyEpisodes:
    """Episodes of functions.

    Args:
        family: The functions.
        shots: The smallest and the largest number of points of a support; each step draws one.
        queries: Points of a query.
        task: The task that reads them.
        seed: Other seeds draw other functions.
    """

    def __init__(self, family: Family, shots: tuple[int, int], queries: int, task: Task, seed: int) -> None:
        self.family, self.shots, self.queries, self.task, self.seed = family, shots, queries, task, seed
        self._last: tuple[Any, Any] = (None, None)

    def draw(self, split: str, step: int, count: int, picked: Sequence[int]) -> Any:
        """Draw all functions of the step, and return those with these numbers."""
        key = (split, step, count)
        if self._last[0] != key:
            draws = random.Random(repr((self.seed, split, step)))
            generator = torch.Generator().manual_seed(draws.getrandbits(63))
            shots = draws.randint(*self.shots)
            self._last = key, self.family.episodes(count, shots, self.queries, generator)
        whole = len(picked) == count
        parts: dict[str, Any] = {
            name: {
                "x": part["x"] if whole else part["x"][picked],
                self.task.column: self._labels(part["y"] if whole else part["y"][picked]),
                ROWS: {},
            }
            for name, part in self._last[1].items()
        }
        return {**parts, "drawn": {"seed": self.seed, "step": step}}

    def reseed(self, seed: int) -> None:
        """Change to the functions of another seed."""
        self.seed, self._last = seed, (None, None)

    def facts(self) -> dict[str, Any]:
        """Return what determines the functions beside the seed, as plain data."""
        settings = {
            name: value for name, value in vars(self.family).items() if isinstance(value, int | float | str | tuple)
        }
        return {"family": type(self.family).__name__, **settings, "shots": list(self.shots), "queries": self.queries}

    def _labels(self, values: Tensor) -> Tensor:
        return self.task.known_head().code(values).to(values.dtype)
