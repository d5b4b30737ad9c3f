"""The rows of one source, pass after pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._checks import require_number
from ._permutation import Permutation, key

_POOL = 50
"""Global batches that are sorted by length together: enough to find equal lengths, few enough to keep the order random."""
_BLOCK = 4096
"""Rows whose order is computed together."""


class Stream(ABC):
    """The rows of one source, in an order that continues from pass to pass.

    A place in the stream is the number of rows that were drawn from the source since training began.
    """

    stateful: ClassVar[bool] = False
    """Whether the place alone is not enough to resume reading."""
    own = False
    """Whether each rank has rows of its own, rather than its part of the same rows."""
    first = 0
    """A fingerprint of its first rows, where nothing else shows that the order is the same."""
    rows: int | None
    """Rows of a pass, where they are known."""
    batches: int | None
    """Global batches of a pass, where they are known."""
    seed = 0

    @property
    def notes(self) -> list[str]:
        """What a user should know about how the source is read and resumed."""
        return []

    @abstractmethod
    def batch(self, place: int) -> int:
        """Return the number of rows of the global batch that begins at this place."""

    @abstractmethod
    def take(self, place: int, count: int, rank: int, ranks: int) -> list[Any]:
        """Return every `ranks`-th of `count` rows from this place on, starting with number `rank`."""

    def stand_in(self, place: int) -> list[Any]:
        """Return a row near this place, without drawing it."""
        return self.take(place, 1, 0, 1)

    def state_dict(self) -> dict[str, Any] | None:
        """Return what is needed beside the place to resume, as plain data; None where the place is enough."""
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to where `state_dict` was called."""
        assert not state, f"{type(self).__name__} has no state"

    def reseed(self, seed: int) -> None:
        """Change to the order of another seed, where the order depends on it."""
        self.seed = seed


class Rows(Stream):
    """Rows that can be read by number: each row once in a pass, every pass in another order.

    A pass is divided into global batches whose sizes differ by at most one row, so that none is short, and every rank has a
    row in each. Where lengths are given, rows of similar lengths come together, which saves padding: the random order is
    divided into pools of 50 global batches, each pool is sorted by length, and its batches come in random order (Khomenko et al.,
    "Accelerating recurrent neural network training using sequence bucketing and multi-GPU data parallelization", 2016).

    Args:
        rows: Number of rows.
        batch: Rows of a global batch.
        name: Name of the source; sources with other names have other orders.
        shuffle: Whether the order is random; otherwise rows come in their own order.
        lengths: The length of each row, e.g. in tokens.
        sort: Whether rows that are not shuffled come by length, the longest first, so that a batch that does not fit into memory
            is the first one.
        ranks: Number of ranks.

    Raises:
        ValueError: There is not a length for each row.

    Example:
        >>> stream = Rows(5, 2, shuffle=False)
        >>> [stream.take(place, 2, 0, 1) for place in (0, 2, 4, 6)]
        [[0, 1], [2, 3], [4, 0], [1, 2]]
    """

    def __init__(
        self,
        rows: int,
        batch: int,
        *,
        name: str = "",
        shuffle: bool = True,
        lengths: Sequence[int] | Tensor | None = None,
        sort: bool = False,
        ranks: int = 1,
    ) -> None:
        require_number("rows", rows, "Count them.", at_least=0, whole=True)
        require_number("batch", batch, "It is the rows of a global batch.", at_least=1, whole=True)
        require_number("ranks", ranks, "1 is a single process.", at_least=1, whole=True)
        self.rows: int = rows
        self.batches: int = max(1, min(-(-rows // batch), rows // ranks))
        self.name, self.shuffle = name, shuffle
        self.lengths = None if lengths is None else self._checked(torch.as_tensor(lengths))
        self._step = _POOL if self.lengths is not None and shuffle else max(1, _BLOCK * self.batches // rows)
        self._sorted = self.lengths.argsort(descending=True, stable=True) if self.lengths is not None and sort else None
        self._order_of: tuple[int, int] | None = None
        self._first, self._last, self._block = 0, 0, [0]

    def _checked(self, lengths: Tensor) -> Tensor:
        if lengths.shape != (self.rows,):
            raise ValueError(
                f"`lengths` of source {self.name!r} must hold a number for each of its {self.rows} rows, got shape "
                f"{list(lengths.shape)}. Measure every row."
            )
        return lengths

    def batch(self, place: int) -> int:
        """Return the number of rows of the global batch that begins at this place."""
        small, larger = divmod(self.rows, self.batches)
        return small + (place % self.rows < larger * (small + 1))

    def take(self, place: int, count: int, rank: int = 0, ranks: int = 1) -> list[int]:
        """Return every `ranks`-th of `count` rows from this place on, starting with number `rank`."""
        start, end = place - self._first, place + count
        if start >= 0 and end <= self._last:
            return self._block[start + rank : start + count : ranks]
        rows: list[int] = []
        while place < end:
            if not self._first <= place < self._last:
                self._load(place)
            rows += self._block[place - self._first : end - self._first]
            place = self._last
        return rows[rank::ranks]

    def reseed(self, seed: int) -> None:
        """Change to the order of another seed."""
        self.seed, self._last = seed, 0

    def _load(self, place: int) -> None:
        """Compute the order of the global batches around this place."""
        number, offset = divmod(place, self.rows)
        small, larger = divmod(self.rows, self.batches)
        within = offset // (small + 1) if offset < larger * (small + 1) else (offset - larger) // small
        piece = within // self._step * self._step
        pieces = range(piece, min(piece + self._step, self.batches) + 1)
        starts = [i * small + min(i, larger) for i in pieces]
        self._first, self._last = number * self.rows + starts[0], number * self.rows + starts[-1]
        block = self._order(number, starts[0], starts[-1])
        if self.lengths is not None and self.shuffle:
            sizes = [stop - start for start, stop in pairwise(starts)]
            block = self._bucketed(block, sizes, key(self.seed, self.name, number, piece))
        self._block = block.tolist()

    def _order(self, number: int, start: int, stop: int) -> Tensor:
        if self.shuffle:
            if self._order_of != (self.seed, number):
                self._permutation = Permutation(self.rows, key(self.seed, self.name, number))
                self._order_of = self.seed, number
            return self._permutation.part(start, stop)
        return torch.arange(start, stop) if self._sorted is None else self._sorted[start:stop]

    def _bucketed(self, block: Tensor, sizes: list[int], seed: int) -> Tensor:
        """Sort rows by length, divide them into batches of these sizes, and put the batches into random order."""
        assert self.lengths is not None
        shuffled = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed)).tolist()
        batches = torch.split(block[self.lengths[block].argsort(stable=True)], [sizes[i] for i in shuffled])
        return torch.cat([batch for _, batch in sorted(zip(shuffled, batches, strict=True), key=lambda pair: pair[0])])


class Ready(Stream):
    """Batches of row numbers from the batch sampler of the user's `DataLoader`; here a place counts batches.

    Args:
        sampler: The batches of a pass.
        rows: Number of rows.
    """

    def __init__(self, sampler: Any, rows: int) -> None:
        self.sampler = sampler
        self.rows: int = rows
        self.batches: int = len(sampler)
        self._at = -1
        self._pass: Iterator[list[int]] = iter(())

    @property
    def notes(self) -> list[str]:
        """A warning that the order of these batches may change after a resume."""
        return ["its batches are those of its own sampler, whose order cannot be resumed exactly"]

    def batch(self, place: int) -> int:
        """Return 1: a batch counts as one."""
        return 1

    def take(self, place: int, count: int, rank: int = 0, ranks: int = 1) -> list[int]:
        """Return the batch at this place; where it is not the next one, the batches before it in the pass are drawn again."""
        within = place % self.batches
        if within == 0 or place != self._at:
            self._pass = islice(self.sampler, within, None)
        self._at = place + 1
        return list(next(self._pass))
