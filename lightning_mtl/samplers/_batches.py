"""How many rows of which source a step holds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ._permutation import key

Batches = Literal["all", "homogeneous", "stratified", "mixed"]
"""What a step holds: a batch of every source; a batch of one source, drawn anew in each step; rows of every source in fixed
numbers; rows whose source is drawn anew for each."""
BATCHES: tuple[Batches, ...] = get_args(Batches)
BY_SOURCE: tuple[Batches, ...] = ("all", "homogeneous")
"""Kinds that hold a whole batch of each of their sources, of that source's own size."""

_CHUNK = 1024
"""Steps whose random numbers are drawn together."""


class Draws:
    """Random numbers that depend on nothing but the seed and the step."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._chunk, self._numbers = -1, [0.0]

    def one(self, step: int) -> float:
        """Draw a number from 0 up to 1."""
        chunk, within = divmod(step, _CHUNK)
        if chunk != self._chunk:
            self._chunk, self._numbers = chunk, self._uniform("one", chunk, _CHUNK).tolist()
        return self._numbers[within]

    def many(self, step: int, count: int) -> Float[Tensor, " count"]:
        """Draw numbers from 0 up to 1."""
        return self._uniform("many", step, count)

    def _uniform(self, kind: str, number: int, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(key(self.seed, kind, number))
        return torch.rand(count, dtype=torch.float64, generator=generator)


def cumulated(shares: Sequence[float]) -> list[float]:
    """Add shares up; the last one that is not zero becomes 1, so that no rounding leads beyond it."""
    sums = list(accumulate(shares))
    last = max(i for i, share in enumerate(shares) if share > 0)
    return [*sums[:last], *[1.0] * (len(sums) - last)]


def drawn(sums: Sequence[float], number: float) -> int:
    """Find the source to which a random number belongs."""
    return bisect_right(sums, number)


def largest_remainders(shares: Sequence[float], rows: int) -> list[int]:
    """Cut a number of rows by shares: each gets the whole part, the largest remainders one more (Hamilton's method)."""
    exact = [share * rows for share in shares]
    counts = [int(count + 1e-9) for count in exact]
    order = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: rows - sum(counts)]:
        counts[i] += 1
    return counts


def multinomial(sums: Sequence[float], numbers: Float[Tensor, " rows"]) -> list[int]:
    """Count the random numbers that belong to each source."""
    of = torch.searchsorted(torch.tensor(sums, dtype=torch.float64), numbers, right=True)
    return torch.bincount(of, minlength=len(sums)).tolist()
