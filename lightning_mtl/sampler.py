"""Which examples of which source come next."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler

Plan = dict[str, list[int]]
"""{source: row numbers} of one step."""

_POOL = 50
"""Global batches that are sorted by length together: enough to find equal lengths, few enough to keep chance."""


class AllSourcesSampler(DistributedSampler[Plan]):
    """Plan steps that each hold a batch of every source, cut by rank.

    A pass over a source is cut into global batches whose sizes differ by one row at the most, and each of these over the
    ranks in the same way, so that no row is lost or read twice. In training the longest source is passed once an
    epoch, and shorter ones start over in a new order; a plan depends on nothing but the seed, the epoch and the step,
    so several ranks together read what a single process reads with the global batch. In evaluation every source is
    passed once.

    Where the lengths of a source's rows are known, a shuffled pass puts rows of like lengths together, so that little
    is padded: its random order is cut into pools of 50 global batches, each pool is sorted by length, and the batches
    come in random order (the bucketing of Khomenko et al., "Accelerating recurrent neural network training using
    sequence bucketing and multi-GPU data parallelization", 2016, in pools). The same holds: every row once in a pass,
    the same global batches for any number of ranks.

    Args:
        sizes: Number of rows of each source.
        batch_sizes: Rows of each source in a step on one rank.
        shuffle: Whether each pass has an order of its own, for all sources or each; otherwise the rows come in their
            own order.
        cycle: Whether shorter sources start over until the longest one ends.
        frozen: Whether every epoch is as the first.
        steps: Steps in an epoch. Default: a pass of the longest source.
        ready: Batches of row numbers that some sources bring along (from a `DataLoader`), instead of ours.
        lengths: Lengths of the rows of some sources, e.g. in tokens: a number for each row. Sources with ready batches
            keep these.
        sort: Whether a pass that is not shuffled comes by length, the longest rows first, so that what does not fit into
            memory shows at once; for sources with lengths.
        seed: Makes another order.
        num_replicas: Number of ranks.
        rank: Number of this rank.

    Raises:
        ValueError: Lengths of a source that there is not, or not one for each row.

    Example:
        >>> sampler = AllSourcesSampler({"a": 4, "b": 2}, {"a": 2, "b": 2}, shuffle=False)
        >>> list(sampler)
        [{'a': [0, 1], 'b': [0, 1]}, {'a': [2, 3], 'b': [0, 1]}]
        >>> list(AllSourcesSampler({"a": 4}, {"a": 2}, shuffle=False, lengths={"a": [5, 9, 7, 9]}, sort=True))
        [{'a': [1, 3]}, {'a': [2, 0]}]
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch_sizes: Mapping[str, int],
        *,
        shuffle: bool | Mapping[str, bool] = True,
        cycle: bool = True,
        frozen: bool = False,
        steps: int | None = None,
        ready: Mapping[str, Sampler[list[int]]] | None = None,
        lengths: Mapping[str, Sequence[int] | Tensor] | None = None,
        sort: bool = False,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        self.sizes = dict(sizes)
        self.ready = dict(ready or {})
        self.batches = {name: self._count(name, batch_sizes[name] * num_replicas, num_replicas) for name in sizes}
        self.shuffles = dict.fromkeys(sizes, shuffle) if isinstance(shuffle, bool) else dict(shuffle)
        self.lengths = {name: self._checked(name, torch.as_tensor(of)) for name, of in (lengths or {}).items()}
        self.cycle, self.frozen, self.sort, self.seed = cycle, frozen, sort, seed
        self.skip = 0
        """Steps that the next iteration leaves out, because they were taken before a run was resumed."""
        self.num_replicas, self.rank, self.epoch = num_replicas, rank, 0
        self.steps = steps or max(self.batches.values())

    def _count(self, source: str, rows: int, ranks: int) -> int:
        """Count the batches of a pass; each rank has a row in each."""
        if source in self.ready:
            return len(cast(Sized, self.ready[source]))
        return max(1, min(-(-self.sizes[source] // rows), self.sizes[source] // ranks))

    def _checked(self, source: str, lengths: Tensor) -> Tensor:
        if source not in self.sizes:
            raise ValueError(
                f"`lengths` must be of sources, got {source!r}; sources are {list(self.sizes)}. Rename it."
            )
        if lengths.shape != (self.sizes[source],):
            raise ValueError(
                f"`lengths` of source {source!r} must hold a number for each of its {self.sizes[source]} rows, got shape "
                f"{list(lengths.shape)}. Measure every row."
            )
        return lengths

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Plan]:
        """Plan the steps of this epoch."""
        start = self.epoch * self.steps if self.cycle and not self.frozen else 0
        skipped, self.skip = self.skip, 0
        streams = {name: self._stream(name, start + skipped) for name in self.sizes}
        for _ in range(self.steps - skipped):
            plan = {name: next(stream, None) for name, stream in streams.items()}
            yield {name: rows for name, rows in plan.items() if rows is not None}

    def passes(self, source: str) -> float:
        """Count the passes over a source in an epoch."""
        return self.steps / self.batches[source]

    def _stream(self, source: str, start: int) -> Iterator[list[int]]:
        count = self.batches[source]
        number, first = divmod(start, count)
        while True:
            yield from islice(self._pass(source, number), first, None)
            if not self.cycle:
                return
            number, first = number + 1, 0

    def _pass(self, source: str, number: int) -> Iterator[list[int]]:
        if source in self.ready:
            yield from self.ready[source]
            return
        for piece in self._pieces(source, number):
            yield piece.tensor_split(self.num_replicas)[self.rank].tolist()

    def _pieces(self, source: str, number: int) -> Sequence[Tensor]:
        """Cut a pass into global batches of row numbers."""
        pieces = self._order(source, number).tensor_split(self.batches[source])
        if source in self.lengths and self.shuffles[source]:
            return self._alike(pieces, self.lengths[source], self._generator(f"{source}/{number}/batches"))
        return pieces

    def _alike(self, pieces: Sequence[Tensor], lengths: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Sort the rows of each pool of batches by length, ties at random, and shuffle the batches of the whole pass."""
        made: list[Tensor] = []
        for start in range(0, len(pieces), _POOL):
            of = pieces[start : start + _POOL]
            pool = torch.cat(list(of))
            made += pool[lengths[pool].argsort(stable=True)].tensor_split(len(of))
        return [made[i] for i in torch.randperm(len(made), generator=generator).tolist()]

    def _order(self, source: str, number: int) -> Tensor:
        if self.shuffles[source]:
            return torch.randperm(self.sizes[source], generator=self._generator(f"{source}/{number}"))
        if self.sort and source in self.lengths:
            return self.lengths[source].argsort(descending=True, stable=True)
        return torch.arange(self.sizes[source])

    def _generator(self, key: str) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed}/{key}".encode()))
