"""All input columns of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import datasets

from .._checks import did_you_mean
from ._base import Columns, Input
from ._finite import refuse_not_finite
from ._text import Text
from ._words import Words


class Inputs:
    """How rows of one source become what the encoder reads; a model keeps it, to predict for rows of the same kind.

    Args:
        parts: The input columns, kind by kind.
        whole: The user's own function from a list of rows to a batch; then there are no parts.
        leave_out: Columns of the result of `whole` that are no inputs.

    Example:
        >>> from lightning_mtl.inputs import Plain
        >>> Inputs([Plain(["x"])])([{"x": 1.0}, {"x": 2.0, "other": "left out"}])
        {'x': tensor([1., 2.])}
    """

    def __init__(
        self,
        parts: Sequence[Input],
        *,
        whole: Callable[[list[Any]], Any] | None = None,
        leave_out: Iterable[str] = (),
    ) -> None:
        self.parts = list(parts)
        self.whole = whole
        self.leave_out = sorted(leave_out)

    @property
    def columns(self) -> list[str]:
        """The columns that the inputs read, as far as they are known."""
        return [column for part in self.parts for column in part.columns]

    @property
    def once(self) -> list[Input]:
        """The parts whose rows are prepared once."""
        return [part for part in self.parts if part.once]

    @property
    def words(self) -> str | None:
        """The column of lists of words, if there is one."""
        return next((part.columns[0] for part in self.parts if isinstance(part, Words)), None)

    @property
    def learning(self) -> list[Input]:
        """The parts that learn from the training split."""
        return [part for part in self.parts if part.columns and type(part).fit is not Input.fit]

    def fit(self, columns: Callable[[Input], Columns]) -> None:
        """Learn from the training split; `columns` reads the columns of a part that learns."""
        for part in self.learning:
            part.fit(columns(part))

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Return the encoder's columns for the user's rows, {column: tensor}, e.g. for an exported model.

        Args:
            rows: Mappings {column: value}, or a `datasets.Dataset`; texts, where the inputs are one column of them.

        Raises:
            ValueError: A row lacks a column, or has a value that does not fit.
        """
        numbers = range(len(rows))
        if self.whole is not None:
            return dict(self.whole([rows[number] for number in numbers]))
        made = self.collate(self.prepare(self.read(rows, numbers), numbers))
        refuse_not_finite(made, "row", numbers)
        return made

    def read(self, rows: Any, numbers: Sequence[int]) -> Columns:
        """Read the columns of rows whose numbers are consecutive.

        Raises:
            ValueError: A row lacks a column.
        """
        if isinstance(rows, datasets.Dataset):
            return dict(rows.with_format(None)[numbers[0] : numbers[-1] + 1])
        picked = [self._row(rows[number], number) for number in numbers]
        for number, row in zip(numbers, picked, strict=True):
            self.refuse_missing(row, f"row {number}")
        wanted = self.columns or list(dict.fromkeys(name for row in picked for name in row))
        return {name: [row[name] for row in picked] for name in wanted}

    def columns_of(self, numbered: Sequence[tuple[int, Any]]) -> Columns:
        """Turn rows, each with its number, into columns; where a row lacks a column that is no input, the value is None.

        Raises:
            ValueError: A row is no mapping, or lacks an input column.
        """
        needed = set(self.columns)
        for number, row in numbered:
            if not isinstance(row, Mapping):
                raise ValueError(
                    f"Row {number} must be {{column: value}}, got {type(row).__name__}. Give mappings, or `collate` that makes "
                    "{column: tensor} of a list of rows."
                )
            if not needed <= row.keys():
                self.refuse_missing(row, f"row {number}")
        names = dict.fromkeys(name for _, row in numbered for name in row)
        return {name: [row.get(name) for _, row in numbered] for name in names}

    def prepare(self, columns: Columns, rows: Sequence[int]) -> list[Columns]:
        """Turn raw rows into what `collate` needs, part by part.

        Raises:
            ValueError: A column is missing, or a value does not fit, with its row and column.
        """
        self.refuse_missing(columns, "every row")
        return [part.prepare(columns, rows) for part in self.parts]

    def collate(self, prepared: Sequence[Columns], picked: Sequence[int] | None = None) -> dict[str, Any]:
        """Return a batch, {column: tensor}, of rows that were prepared: all of them, or those at the places in `picked`."""
        made: dict[str, Any] = {}
        for part, columns in zip(self.parts, prepared, strict=True):
            rows = (
                columns if picked is None else {name: [values[i] for i in picked] for name, values in columns.items()}
            )
            made |= part.collate(rows)
        return made

    def refuse_missing(self, columns: Iterable[str], where: str) -> None:
        """Check that rows have all columns.

        Raises:
            ValueError: One is missing.
        """
        there = list(columns)
        for name in self.columns:
            if name not in there:
                hint = did_you_mean(name, there, "")
                remedy = f"{hint} Rename it." if hint else "Add it."
                raise ValueError(f"Column {name!r} must be in {where}, got columns {there}. {remedy}")

    def _row(self, row: Any, number: int) -> Mapping[str, Any]:
        if isinstance(row, Mapping):
            return row
        texts = next((part.columns for part in self.parts if isinstance(part, Text)), [])
        if isinstance(row, str) and len(texts) == 1 and self.columns == texts:
            return {texts[0]: row}
        raise ValueError(
            f"Row {number} must be {{column: value}} with the columns {self.columns}, got {row!r}. Give a mapping; a plain text "
            "is enough where a model reads one text."
        )

    def example(self) -> dict[str, Any] | None:
        """Return a batch of two invented rows; None where columns are the user's own."""
        rows = [part.example() for part in self.parts]
        if not rows or None in rows:
            return None
        columns = {name: values for row in rows for name, values in (row or {}).items()}
        return self.collate(self.prepare(columns, range(2)))

    def sizes(self) -> dict[str, int]:
        """Return the size of the last axis of the encoder's columns whose size is fixed: {column: size}."""
        return {name: size for part in self.parts for name, size in part.sizes().items()}

    def notes(self) -> list[str]:
        """Return what a user should know about what was learned."""
        return [note for part in self.parts if (note := part.note())]
