"""One split of one source, read in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import pyarrow.compute as pc
import torch
from torch import Tensor

from .inputs import RAW, Columns, Input, Inputs, Text, Words, label_values


class Examples:
    """One split of one source: `examples[row numbers]` is a batch of tensors.

    What is slow to make of a row (tokens, codes) is made once where the rows are a Hugging Face dataset, and kept in its cache;
    otherwise as the rows are read.

    Args:
        rows: Rows by number.
        inputs: How they become what the encoder reads.
        targets: Columns that tasks learn from, which come along as they are. Default: every column.
        show: Whether words come along too, to be shown beside what is predicted for them.
    """

    def __init__(self, rows: Any, inputs: Inputs, targets: Sequence[str] | None, *, show: bool = False) -> None:
        self.rows = rows
        self.shown = inputs.words if show else None
        self.inputs = inputs
        self.targets = targets
        self._prepared: list[str] | None = None
        if isinstance(rows, datasets.Dataset) and inputs.whole is None:
            self.rows = self._once(rows.with_format(None))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, numbers: list[int]) -> dict[str, Any]:
        """Read the rows with these numbers as one batch."""
        if self.inputs.whole is not None:
            made = self.inputs.whole([self.rows[i] for i in numbers])
            return {name: column for name, column in made.items() if name not in self.inputs.leave_out}
        columns = self.read(numbers)
        batch: dict[str, Any] = {}
        for part in self.inputs.parts:
            batch |= part.collate(self._rows_of(part, columns, numbers))
        for target in self._targets(columns, batch):
            batch[target] = label_values(columns[target])
        if self.shown is not None:
            batch[RAW] = columns[self.shown]
        return batch

    def read(self, numbers: list[int] | slice) -> dict[str, list[Any]]:
        """Read the raw columns of the rows with these numbers."""
        if isinstance(self.rows, datasets.Dataset):
            return dict(self.rows[numbers])
        picked = range(len(self.rows))[numbers] if isinstance(numbers, slice) else numbers
        rows = [self.rows[i] for i in picked]
        return {column: [row[column] for row in rows] for column in rows[0]}

    def lengths(self) -> Tensor | None:
        """Count the tokens of every row, where texts were tokenized once."""
        tokens = self._tokens()
        return None if tokens is None else torch.from_numpy(pc.list_value_length(tokens).to_numpy().copy())

    @property
    def tokenizes(self) -> bool:
        """Whether texts are tokenized as the rows are read."""
        return self._prepared is None and any(isinstance(part, Text | Words) for part in self.inputs.parts)

    def largest_token(self) -> int | None:
        """Find the largest number of a token, where texts were tokenized once."""
        tokens = self._tokens()
        return None if tokens is None else pc.max(pc.list_flatten(tokens)).as_py()

    def _tokens(self) -> Any:
        name = next((name for name in self._prepared or () if name.endswith(".input_ids")), None)
        return None if name is None else self.rows.select_columns([name]).with_format("arrow")[:][name]

    def notes(self) -> list[str]:
        """Say what a user should know about the rows: texts that are cut."""
        limit = min((part.limit for part in self.inputs.parts if part.limit), default=None)
        lengths = self.lengths()
        if limit is None or lengths is None or not (cut := int((lengths >= limit).sum())):
            return []
        return [
            f"{cut:,} of {len(lengths):,} texts reach the limit of {limit:,} tokens; what lies beyond it is not read"
        ]

    def _once(self, rows: datasets.Dataset) -> datasets.Dataset:
        parts = self.inputs.once
        if self.targets is not None and self.inputs.columns:
            kept = {*self.inputs.columns, *self.targets}
            rows = rows.select_columns([name for name in rows.column_names if name in kept])
        if not parts:
            return rows
        first = _prepare(rows[:1], [0], parts)  # a tokenizer is another one, to the cache, before its first use
        self._prepared = list(first)
        own = [name for name in self.inputs.columns if not any(name in part.columns for part in parts)]
        used = {name for part in parts for name in part.columns}.difference(own, self.targets or (), [self.shown])
        return rows.map(
            _prepare,
            batched=True,
            with_indices=True,
            fn_kwargs={"parts": parts},
            remove_columns=sorted(used) if self.targets is not None else None,
            desc="Prepare",
        )

    def _rows_of(self, part: Input, columns: Columns, numbers: Sequence[int]) -> Columns:
        if not part.once or self._prepared is None:
            return part.prepare(columns, numbers)
        place = f"{self.inputs.once.index(part)}."
        return {name.removeprefix(place): columns[name] for name in self._prepared if name.startswith(place)}

    def _targets(self, columns: Mapping[str, Any], batch: Mapping[str, Any]) -> list[str]:
        wanted = columns if self.targets is None else self.targets
        prepared = self._prepared or ()
        return [name for name in wanted if name in columns and name not in batch and name not in prepared]


def _prepare(columns: Columns, numbers: Sequence[int], parts: Sequence[Input]) -> dict[str, list[Any]]:
    """Prepare rows; a part's columns have its number before their name, so that none is taken for one of the user's."""
    made: dict[str, list[Any]] = {}
    for place, part in enumerate(parts):
        made |= {f"{place}.{name}": values for name, values in part.prepare(columns, numbers).items()}
    return made
