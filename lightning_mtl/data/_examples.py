"""One split of one source, read in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import pyarrow.compute as pc
import torch
from torch import Tensor

from ..inputs import RAW, Columns, Input, Inputs, Text, Words, label_values, refuse_not_finite, shown_values
from ._prepared import is_prepared, prefix_of


class Examples:
    """One split of one source: `examples[row numbers]` is a batch of tensors.

    The slow steps of a row (tokenizing, scaling) run once where the rows are a Hugging Face dataset, and their results are in its
    cache (see `PreparedRows`); for other rows they run at each reading.

    Args:
        rows: Rows by number, prepared where they can be.
        inputs: How rows become what the encoder reads.
        targets: Columns that tasks learn from; a batch has them as they are. Default: every column.
        show: Whether a batch also has the words of the rows, to show them beside predictions.
        given: Whether rows are not read by number, but passed: `examples[(number, row) of each]`.
    """

    def __init__(
        self, rows: Any, inputs: Inputs, targets: Sequence[str] | None, *, show: bool = False, given: bool = False
    ) -> None:
        self.rows = rows
        self.given = given
        self.shown = inputs.words if show else None
        self.inputs = inputs
        self.targets = targets
        self.looks = False
        """Whether batches are looked at as they are read, since not all rows were before training."""
        self._prepared: list[str] = []
        if isinstance(rows, datasets.Dataset) and inputs.whole is None:
            self._prepared = [name for name in rows.column_names if is_prepared(name)] if inputs.once else []
            self.rows = rows.with_format(None).select_columns(self._needed(rows.column_names))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, numbers: list[Any]) -> dict[str, Any]:
        """Read the rows with these numbers as one batch."""
        if self.inputs.whole is not None:
            made = self.inputs.whole([row for _, row in numbers] if self.given else [self.rows[i] for i in numbers])
            made = {name: column for name, column in made.items() if name not in self.inputs.leave_out}
            self._look(made, [number for number, _ in numbers] if self.given else numbers)
            return made
        if self.given:
            columns = self.inputs.columns_of(numbers)
            numbers = [number for number, _ in numbers]
        else:
            columns = self.read(numbers)
        batch: dict[str, Any] = {}
        for part in self.inputs.parts:
            batch |= part.collate(self._rows_of(part, columns, numbers))
        self._look(batch, numbers)
        read = shown_values if self.targets is None else label_values
        for target in self._targets(columns, batch):
            batch[target] = read(columns[target])
        if self.shown is not None:
            batch[RAW] = columns[self.shown]
        return batch

    def _look(self, batch: Mapping[str, Any], numbers: Sequence[int]) -> None:
        if self.looks:
            inputs = {name: of for name, of in batch.items() if name not in (self.targets or ())}
            refuse_not_finite(inputs, "row", numbers)

    def read(self, numbers: list[int] | slice) -> dict[str, list[Any]]:
        """Read the raw columns of the rows with these numbers."""
        if isinstance(self.rows, datasets.Dataset):
            return dict(self.rows[numbers])
        picked = range(len(self.rows))[numbers] if isinstance(numbers, slice) else numbers
        return dict(self.inputs.columns_of([(i, self.rows[i]) for i in picked]))

    def lengths(self) -> Tensor | None:
        """Return the number of tokens of every row, where texts were tokenized once."""
        tokens = self._tokens()
        return None if tokens is None else torch.from_numpy(pc.list_value_length(tokens).to_numpy().copy())

    @property
    def tokenizes(self) -> bool:
        """Whether texts are tokenized as the rows are read."""
        return not self._prepared and any(isinstance(part, Text | Words) for part in self.inputs.parts)

    @property
    def prepared(self) -> bool:
        """Whether rows were prepared once, or need not be."""
        return bool(self._prepared) or not self.inputs.once

    def largest_token(self) -> int | None:
        """Return the largest token id, where texts were tokenized once."""
        tokens = self._tokens()
        return None if tokens is None else pc.max(pc.list_flatten(tokens)).as_py()

    def _tokens(self) -> Any:
        name = next((name for name in self._prepared if name.endswith(".input_ids")), None)
        return None if name is None else self.rows.select_columns([name]).with_format("arrow")[:][name]

    def notes(self) -> list[str]:
        """Return what a user should know about the rows: how many texts are truncated."""
        limit = min((part.limit for part in self.inputs.parts if part.limit), default=None)
        lengths = self.lengths()
        if limit is None or lengths is None or not (truncated := int((lengths >= limit).sum())):
            return []
        return [
            f"{truncated:,} of {len(lengths):,} texts reach the limit of {limit:,} tokens; what lies beyond it is not read"
        ]

    def _needed(self, there: Sequence[str]) -> list[str]:
        """Return those of the columns that a batch is made of."""
        if self.targets is None or not self.inputs.columns:
            return list(there)
        unprepared = {name for part in self.inputs.parts if not part.once for name in part.columns}
        needed = {*unprepared, *self.targets, *self._prepared, *([self.shown] if self.shown else ())}
        return [name for name in there if name in needed]

    def _rows_of(self, part: Input, columns: Columns, numbers: Sequence[int]) -> Columns:
        if not part.once or not self._prepared:
            return part.prepare(columns, numbers)
        prefix = prefix_of(self.inputs.once.index(part))
        return {name.removeprefix(prefix): columns[name] for name in self._prepared if name.startswith(prefix)}

    def _targets(self, columns: Mapping[str, Any], batch: Mapping[str, Any]) -> list[str]:
        wanted = columns if self.targets is None else self.targets
        return [name for name in wanted if name in columns and name not in batch and name not in self._prepared]
