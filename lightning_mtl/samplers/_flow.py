"""Rows of an iterable, which come one after another."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, ClassVar

from ._stream import Stream


class Once(Iterator[Any]):
    """An iterator that can be read only once, and counts the rows that it has returned."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self.rows, self.given = rows, 0

    def __next__(self) -> Any:
        """Return the next row."""
        row = next(self.rows)
        self.given += 1
        return row


class Flow(Stream):
    """Rows that cannot be read by number: those of an iterable, pass after pass, read by the main process.

    Rows come as (number in the pass, row). An iterable with `state_dict` and `load_state_dict` resumes where it was saved. Of any
    other iterable, a resumed run reads the rows of the pass again and skips those that it had; this is exact where the iterable
    returns the same rows again. An iterable with `set_epoch` gets the number of the pass, so that it can shuffle in another order.

    Args:
        rows: The iterable.
        batch: Rows of a global batch.
        name: Name of the source.
        size: Rows of a pass over all ranks, where they are known.
        own: Whether the iterable returns only the rows of this rank; otherwise every rank reads all rows and keeps its part.
        saves: Whether the iterable's own state is exact.
        first: A fingerprint of its first rows, which must be the same on all ranks, and after a resume.

    Raises:
        ValueError: The iterable has no rows, or none are left and it cannot start again.

    Example:
        >>> flow = Flow(["x", "y", "z"], 2)
        >>> flow.take(0, 2), flow.take(2, 2)
        ([(0, 'x'), (1, 'y')], [(2, 'z'), (0, 'x')])
    """

    stateful: ClassVar[bool] = True

    def __init__(
        self,
        rows: Iterable[Any],
        batch: int,
        *,
        name: str = "",
        size: int | None = None,
        own: bool = False,
        saves: bool = False,
        first: int = 0,
    ) -> None:
        self._fresh, self.first = rows, first
        self.iterable: Any = own_copy(rows) if saves else rows
        self.name, self.own, self.saves, self._batch = name, own, saves, batch
        self.rows = size
        more = 0 if isinstance(rows, Once) else batch - 1  # what can be read once ends with its last whole batch
        self.batches = None if size is None else max(1, (size + more) // batch)
        self._number, self._taken = 0, 0
        self._rows: Iterator[Any] | None = None
        self._last: tuple[int, Any] | None = None
        self._loaded: Any = None
        """The state that was loaded into the iterable, until a row is read: before that, its `state_dict` may return another."""

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the source is resumed and read."""
        said = []
        if not self.saves:
            said.append("a resumed run reads the rows of the pass again up to where it stood")
        if isinstance(self.iterable, Once):
            said.append("it is a generator, which can be read once: training must end within a pass")
        if not self.own:
            said.append("with several processes each reads all rows and keeps its part")
        return said

    def batch(self, place: int) -> int:
        """Return the rows of a global batch, always the same number."""
        return self._batch

    def take(self, place: int, count: int, rank: int = 0, ranks: int = 1) -> list[Any]:
        """Read the next rows: only those of this rank, or all of them, of which every `ranks`-th is kept."""
        if self.own:
            return [self._next() for _ in range(rank, count, ranks)]
        return [self._next() for _ in range(count)][rank::ranks]

    def stand_in(self, place: int) -> list[Any]:
        """Return the last row that was read; before any was read, the first row."""
        return [(0, next(iter(self.iterable))) if self._last is None else self._last]

    def _next(self) -> tuple[int, Any]:
        if self._rows is None:
            self._begin()
        assert self._rows is not None
        for row in self._rows:
            self._last, self._loaded = (self._taken, row), None
            self._taken += 1
            return self._last
        if self._taken == 0 or isinstance(self.iterable, Once):
            raise ValueError(
                f"Source {self.name!r} must give rows pass after pass, got an end after {self._taken} rows of pass {self._number}. "
                "Give an iterable that can be read again (a generator cannot; `datasets.IterableDataset.from_generator` can), or "
                "train for fewer steps."
            )
        self._number, self._taken = self._number + 1, 0
        self._begin()
        return self._next()

    def _begin(self) -> None:
        if hasattr(self.iterable, "set_epoch"):
            self.iterable.set_epoch(self._number)
        self._rows = iter(self.iterable)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the pass, the rows that were read in it, and the iterable's own state."""
        own = self._loaded
        if own is None and self.saves and self._taken:
            own = copy.deepcopy(self.iterable.state_dict())
        return {"pass": self._number, "taken": self._taken, "iterable": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume where `state_dict` was called."""
        self._number, self._taken, self._loaded = state["pass"], state["taken"], state["iterable"]
        if state["iterable"] is not None:
            if hasattr(self.iterable, "set_epoch"):
                self.iterable.set_epoch(self._number)
            self.iterable.load_state_dict(copy.deepcopy(state["iterable"]))
            self._rows = iter(self.iterable)
        else:
            if self.saves:
                self.iterable = own_copy(self._fresh)
            self._begin()
            assert self._rows is not None
            again = self.iterable.given if isinstance(self.iterable, Once) else 0
            if again > self._taken:
                raise ValueError(
                    f"Source {self.name!r} must give rows again from number {self._taken} on, since not all that was read ahead was "
                    f"trained on, got a generator that has given {again}. Give an iterable that can be read again "
                    "(`datasets.IterableDataset.from_generator`), or let epochs end by `steps_per_epoch`, without workers."
                )
            self._rows = islice(self._rows, self._taken - again, None)


def own_copy(rows: Any) -> Any:
    """Return a copy of an iterable with a state, where it can be copied, so that the state of the user's own does not change."""
    try:
        return copy.deepcopy(rows)
    except (TypeError, ValueError, copy.Error):  # open files, locks
        return copy.copy(rows)
