"""A split of a source as it is read before training: each row at most once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor

from ..inputs import Columns, Inputs, Plain, label_values, refuse_not_finite
from ._arrow_columns import ArrowColumns
from ._columns import refuse_no_mapping, value_in
from ._row_keys import row_keys

_PROBE = 200
"""Rows after which it is known how long a row takes."""
BUDGET = 60.0
"""Seconds that reading a split may take; beyond it, a sample is read."""
SAMPLES = (10_000, 1_000, 100)
"""Sizes of a sample: the largest one that keeps within the budget, or else the smallest."""
_CHUNK = 100

Agree = Callable[[Any], Any]
"""Returns the value of the first rank, on all ranks."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of the rows of a split when they are read.

    Args:
        inputs: How rows become tensors; it need not have learned anything yet.
        targets: The columns that tasks learn from.
        keep: Columns whose values are kept, and of how many rows at most; None for all.
        keys: Whether a key is made of the inputs of each row; rows with the same inputs share it.
    """

    inputs: Inputs
    targets: Sequence[str] = ()
    keep: Mapping[str, int | None] = field(default_factory=dict)
    keys: bool = False


class Reading:
    """The columns of a split, and what its inputs look like.

    Columns of a Hugging Face dataset are read as a whole, from Arrow. Other rows are read one by one, once; where that is slow, a
    sample of them is read.

    Args:
        rows: Rows by number.
        wanted: What is wanted of them.
        where: What a row is called in error messages.
        agree: Makes all ranks read the same sample.
        first: The first row, where it was read already.
    """

    def __init__(
        self, rows: Any, wanted: Wanted, where: str = "row", agree: Agree = lambda value: value, first: Any = None
    ) -> None:
        self.rows, self.wanted, self.where, self._first = rows, wanted, where, first
        self.total = len(rows)
        self.numbers: Sequence[int] = range(self.total)
        """The numbers of the rows that are read."""
        self.seconds = 0.0
        self._agree = agree
        plain = isinstance(rows, datasets.Dataset) and wanted.inputs.whole is None
        self._arrow = ArrowColumns(rows) if plain else None
        self._targets = {name for name in wanted.targets if self._arrow is not None and name in self._arrow.features}
        self._kept: dict[str, list[Any]] = {}
        self._keys: list[np.ndarray] = []
        self._looked = False

    @property
    def repeats(self) -> bool:
        """Whether a row has the same inputs whenever it is read: of what is in memory or in a file, not of the user's own code."""
        return self._arrow is not None or isinstance(self.rows, list)

    @property
    def sampled(self) -> bool:
        """Whether not all rows were read."""
        return len(self.numbers) < self.total

    def note(self) -> str:
        """Return what a user should know about the reading."""
        if not self.sampled:
            return ""
        each = 1000 * self.seconds / max(len(self.numbers), 1)
        return (
            f"rows are slow to read ({each:.1f} ms each): {len(self.numbers):,} of {self.total:,} were read before training, and what is "
            "learned and checked before it is theirs; the others are checked when they are read"
        )

    def features(self) -> Mapping[str, Any]:
        """Return the types of the columns of a Hugging Face dataset; nothing for other rows."""
        return self._arrow.features if self._arrow is not None else {}

    def columns(self, names: Sequence[str], most: int | None = None) -> dict[str, list[Any]]:
        """Return the values of columns, as lists: of all rows that are read, or at most of so many first ones."""
        if self._arrow is not None:
            self._arrow.load([*self._targets] if self._targets.intersection(names) else [])
            return {name: self._arrow.values(name, most) for name in names}
        if set(names) <= self.wanted.keep.keys():
            self.look()
        missing = [name for name in names if name not in self._kept]
        rows = [(i, self._row(i)) for i in self.numbers[:most]] if missing else []
        late = {name: [value_in(row, i, name) for i, row in rows] for name in missing}
        return {name: late[name] if name in late else self._kept[name][:most] for name in names}

    def cells(self, names: Sequence[str]) -> Columns:
        """Return columns as Arrow has them, or else as lists."""
        if self._arrow is None:
            return self.columns(names)
        self._arrow.load(names)
        return {name: self._arrow.cells(name) for name in names}

    def targets(self, names: Sequence[str]) -> dict[str, Any]:
        """Return target columns as a batch of all rows has them."""
        if self._arrow is not None and all(self._arrow.is_whole(name) for name in names):
            return {name: self._arrow.tensor(name) for name in names}
        if self.wanted.inputs.whole is None:
            return {name: label_values(values) for name, values in self.columns(names).items()}
        self.look()
        return {name: _joined(self._kept[name]) for name in names if name in self._kept}

    def keys(self) -> np.ndarray:
        """Return for each row a number that rows with the same inputs share."""
        if self._arrow is not None:
            names = self._named(list(self._arrow.features))
            return self._arrow.keys(names) if {*names} <= self._arrow.features.keys() else np.zeros(0, dtype=np.uint64)
        self.look()
        return np.concatenate(self._keys) if self._keys else np.zeros(0, dtype=np.uint64)

    def look(self) -> None:
        """Look at the inputs of all rows, once.

        Raises:
            ValueError: A value that does not fit, or is not finite, with its row and column.
        """
        if self._looked:
            return
        self._looked = True
        parts = [part for part in self.wanted.inputs.parts if not part.once]
        if self._arrow is not None:
            plain = [part for part in parts if isinstance(part, Plain)]
            columns = [column for part in plain for column in part.columns if column not in self.wanted.targets]
            if len(plain) == len(parts) and all(self._arrow.is_numeric(column) for column in columns):
                self._arrow.load(columns)
                for column in columns:
                    self._arrow.refuse_not_finite(column, self.where)
                return
        for numbers in self._chunks():
            try:
                self._look_at(numbers)
            except ValueError as error:
                if self.where in str(error):
                    raise
                raise ValueError(f"S{self.where.removesuffix(', row')[1:]}: {error}") from error

    def _chunks(self) -> Iterator[list[int]]:
        """Return the numbers of the rows, in pieces; where rows are slow, those of a sample."""
        start = time.perf_counter()
        for first in range(0, min(_PROBE, self.total), _CHUNK):
            yield list(range(first, min(first + _CHUNK, _PROBE, self.total)))
        self.seconds = time.perf_counter() - start
        if self.total <= _PROBE:
            return
        rest = self._agree(_rest(self.total, self.seconds))
        self.numbers = range(self.total) if rest is None else [*range(_PROBE), *rest]
        later = range(_PROBE, self.total) if rest is None else rest
        for first in range(0, len(later), _CHUNK):
            yield list(later[first : first + _CHUNK])
        self.seconds = time.perf_counter() - start

    def _look_at(self, numbers: list[int]) -> None:
        inputs = self.wanted.inputs
        if inputs.whole is not None:
            batch = inputs.whole([self._row(i) for i in numbers])
            made = {name: column for name, column in batch.items() if name not in inputs.leave_out}
            self._keep({name: [made[name]] for name in self.wanted.targets if name in made})
            columns = {name: _rows_of(column) for name, column in made.items() if _count(column) == len(numbers)}
        else:
            columns = self._raw(numbers)
            self._keep({name: columns[name] for name in self.wanted.keep if name in columns})
            made = {}
            for part in inputs.parts:
                made |= {} if part.once else part.collate(part.prepare(columns, numbers))
        refuse_not_finite({n: of for n, of in made.items() if n not in self.wanted.targets}, self.where, numbers)
        if self.wanted.keys and self._arrow is None:
            self._keys.append(row_keys([columns[name] for name in self._named(list(columns))], len(numbers)))

    def _raw(self, numbers: list[int]) -> dict[str, Any]:
        if self._arrow is not None:
            return self._arrow.rows(numbers)
        numbered = [(i, self._row(i)) for i in numbers]
        for i, row in numbered:
            refuse_no_mapping(row, i)
        columns = dict(self.wanted.inputs.columns_of(numbered))
        for name in self.wanted.targets:
            columns[name] = [value_in(row, i, name) for i, row in numbered]
        return columns

    def _row(self, number: int) -> Any:
        if number == 0 and self._first is not None:
            return self._first
        try:
            return self.rows[number]
        except Exception as error:
            raise ValueError(
                f"Rows must be readable: {self.where} {number} fails with {type(error).__name__}: {error}. Correct or drop it."
            ) from error

    def _keep(self, columns: Mapping[str, list[Any]]) -> None:
        for name, values in columns.items():
            kept = self._kept.setdefault(name, [])
            most = self.wanted.keep.get(name)
            kept += values if most is None else values[: max(most - len(kept), 0)]

    def _named(self, there: Sequence[str]) -> list[str]:
        """Return the columns that a row's key is made of."""
        named = [] if self.wanted.inputs.whole is not None else self.wanted.inputs.columns
        hidden = {*self.wanted.targets, *self.wanted.inputs.leave_out}
        return named or [name for name in there if name not in hidden]


def _rest(total: int, seconds: float) -> list[int] | None:
    """Return the rows after the first ones that are read where all would take too long; else None."""
    each = seconds / _PROBE
    if each * total <= BUDGET:
        return None
    size = next((size for size in SAMPLES if size <= total and each * size <= BUDGET), SAMPLES[-1])
    return sorted({number for number in np.linspace(0, total - 1, size).astype(int).tolist() if number >= _PROBE})


def _count(column: Any) -> int:
    if isinstance(column, Tensor):
        return len(column) if column.ndim else -1
    return len(column) if isinstance(column, list) else -1


def _rows_of(column: Any) -> list[Any]:
    return column if isinstance(column, list) else [*column]


def _joined(parts: list[Any]) -> Any:
    """Join a column of several batches."""
    if all(isinstance(part, Tensor) for part in parts):
        return torch.cat(parts)
    return [value for part in parts for value in (part.tolist() if isinstance(part, Tensor) else part)]
