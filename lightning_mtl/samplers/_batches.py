"""What a step holds: how many rows of which sources."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ._permutation import key
from ._rule import Rule
from ._stream import Stream

Batches = Literal["all", "homogeneous", "stratified", "mixed"]
"""What a step holds: a batch of every source; a batch of one source, drawn in each step; rows of every source in fixed
numbers; rows whose sources are drawn one by one."""
BATCHES: tuple[Batches, ...] = get_args(Batches)
BY_SOURCE: tuple[Batches, ...] = ("all", "homogeneous")
"""Kinds that hold a whole batch of each of their sources, of that source's own size."""

_CHUNK = 1024
"""Steps whose random numbers are drawn together."""


class Draws:
    """Random numbers that depend only on the seed and the step."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._chunk, self._numbers = -1, [0.0]

    def one(self, step: int) -> float:
        """Draw a number in [0, 1)."""
        chunk, within = divmod(step, _CHUNK)
        if chunk != self._chunk:
            self._chunk, self._numbers = chunk, self._uniform("one", chunk, _CHUNK).tolist()
        return self._numbers[within]

    def many(self, step: int, count: int) -> Float[Tensor, " count"]:
        """Draw numbers in [0, 1)."""
        return self._uniform("many", step, count)

    def _uniform(self, kind: str, number: int, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(key(self.seed, kind, number))
        return torch.rand(count, dtype=torch.float64, generator=generator)


class Contents:
    """Decides how many rows of which sources the global batch of a step holds.

    Args:
        kind: What a step holds.
        rows: Rows of a global batch that holds rows of several sources ("stratified", "mixed").
        streams: The stream of each source.
        fixed: Whether rates never change. Then rates that leave a source without rows are an error; else the source gets one row.

    Raises:
        ValueError: Batches are too small for a row of each source.
    """

    def __init__(self, kind: Batches, rows: int, streams: Mapping[str, Stream], *, fixed: bool) -> None:
        if kind not in BATCHES:
            raise ValueError(f"`batches` must be one of {list(BATCHES)}, got {kind!r}.")
        if kind == "stratified" and rows < len(streams):
            raise ValueError(
                f"`batches='stratified'` must give each source a row of a global batch, got {rows} rows for the sources "
                f"{list(streams)}. Raise `batch_size`, or use batches='mixed'."
            )
        self.kind, self.rows, self.names, self.fixed = kind, rows, list(streams), fixed
        self._streams = list(streams.values())
        self._rates: list[float] = []
        self._drawn_by: Any = None
        self.reseed(0)

    def reseed(self, seed: int) -> None:
        """Draw with another seed."""
        self._draws = Draws(seed)

    def of(self, step: int, rates: list[float], places: Sequence[int]) -> list[tuple[int, int]]:
        """Return the number of each source that the step holds, and how many rows of it.

        Args:
            step: The step.
            rates: The share of each source.
            places: The place in each source's stream.
        """
        if rates != self._rates:  # computed once, while they are the same
            self._rates, self._drawn_by = rates, self._prepared(rates)
        prepared = self._drawn_by
        if self.kind == "homogeneous":
            i = bisect_right(prepared, self._draws.one(step))
            return [(i, self._streams[i].batch(places[i]))]
        if self.kind == "all":
            return [(i, self._streams[i].batch(places[i])) for i in prepared]
        counts = prepared if self.kind == "stratified" else multinomial(prepared, self._draws.many(step, self.rows))
        return [(i, count) for i, count in enumerate(counts) if count]

    def shares(self, rates: list[float]) -> list[float]:
        """Return the share that each source has at these rates: of the steps, or of the rows where a step mixes sources.

        With "all" it is 1 for each source that is not left out; with "stratified" it is the share of the rounded numbers of rows.
        """
        if self.kind == "all":
            return [float(rate > 0) for rate in rates]
        return [count / self.rows for count in self._stratified(rates)] if self.kind == "stratified" else rates

    def rows_of(self, source: int) -> float:
        """Return how many rows a share of 1 is, on average."""
        stream = self._streams[source]
        if self.kind not in BY_SOURCE:
            return float(self.rows)
        return float(stream.batch(0)) if stream.rows is None else stream.rows / (stream.batches or 1)

    def _prepared(self, rates: list[float]) -> list[Any]:
        """Return what the draws need: the sources of "all", rows for "stratified", else cumulative shares."""
        if self.kind == "all":
            return [i for i, rate in enumerate(rates) if rate > 0]
        return self._stratified(rates) if self.kind == "stratified" else cumulative(rates)

    def _stratified(self, rates: list[float]) -> list[int]:
        counts = largest_remainders(rates, self.rows)
        starved = [i for i, rate in enumerate(rates) if rate > 0 and counts[i] == 0]
        if starved and self.fixed:
            raise ValueError(
                f"`batches='stratified'` must give each source a row of the {self.rows} in a global batch, got none for "
                f"{[self.names[i] for i in starved]} at rates {dict(zip(self.names, rates, strict=True))}. Raise `batch_size` or "
                "these rates, or use batches='mixed'."
            )
        for i in starved:
            counts[counts.index(max(counts))] -= 1
            counts[i] = 1
        return counts


def cumulative(shares: Sequence[float]) -> list[float]:
    """Return the cumulative sums of shares; from the last share above 0 on they are exactly 1, despite rounding."""
    sums = list(accumulate(shares))
    last = max(i for i, share in enumerate(shares) if share > 0)
    return [*sums[:last], *[1.0] * (len(sums) - last)]


def largest_remainders(shares: Sequence[float], rows: int) -> list[int]:
    """Divide a number of rows by shares: each gets the whole part, the largest remainders one more (Hamilton's method)."""
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


def refuse_rule(rule: Any, sources: Collection[str], kind: Batches) -> None:
    """Reject a rule that cannot be followed.

    Raises:
        ValueError: It is no rule, there is a single source, it names unknown sources, or steps hold all sources in any case.
    """
    if not isinstance(rule, Rule):
        raise ValueError(
            f"`sampling` must be a rule of lightning_mtl.samplers, or of a class of yours that inherits from its `Rule`, got {rule!r}. "
            "Write e.g. Temperature(2.0)."
        )
    if len(sources) == 1:
        raise ValueError(
            f"`sampling` must have several sources to choose from, got {list(sources)}. Leave it out, or give each task a source of "
            "its own."
        )
    if unknown := rule.names() - set(sources):
        raise ValueError(
            f"`sampling` must name sources out of {list(sources)}, got {sorted(unknown)} too. Rename or drop them."
        )
    if kind == "all" and not rule.leaves_out:
        raise ValueError(
            f"`sampling` must leave out sources, e.g. Phases, where batches='all' hold a batch of every other source, got {rule}. Use "
            "batches='homogeneous', 'stratified' or 'mixed'."
        )
