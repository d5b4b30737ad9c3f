"""Columns that tasks and encoders need: whether their cells are surely what they look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import pyarrow as pa

from ..files import Cells, refuse_doubts, refuse_frequent_na


def refuse_doubtful(
    rows: Any,
    columns: Sequence[str],
    cells: Cells | None,
    *,
    target: bool,
    read: Callable[[str], Any] | None = None,
) -> None:
    """Check that texts in columns are no numbers, lists or gaps that a program wrote as texts.

    Args:
        rows: The rows of a training split; of rows other than a dataset or a list of mappings, nothing is looked at.
        columns: The columns.
        cells: What the user says of their cells.
        target: Whether a task learns them.
        read: Returns a column of a dataset as Arrow has it, where it is read already.

    Raises:
        CellsError: A column can be read in two ways.
    """
    for name in columns:
        found = _column(rows, name, read)
        if found is not None:
            refuse_doubts(name, found, cells or Cells(), target=target)
            if target and isinstance(rows, datasets.Dataset):
                refuse_frequent_na(name, rows.data.table.schema.field(name))


def refuse_unused(
    cells: Cells | None, stream: Any, columns: Callable[[str], list[str]], splits: Mapping[str, Any]
) -> None:
    """Check that what the user says of cells is of columns that there are, and of rows that are read before training.

    Args:
        cells: What the user says.
        stream: The training split, where it can only be read as a stream.
        columns: Returns the columns of a split.
        splits: The rows of each split.

    Raises:
        ValueError: It is not.
    """
    if cells is None:
        return
    if stream is not None:
        raise ValueError(
            f"`cells` must be left out where the training split is read as a stream, got {cells}. Change the rows of the stream."
        )
    cells.refuse_unknown(dict.fromkeys(name for split, rows in splits.items() if len(rows) for name in columns(split)))


def _column(rows: Any, name: str, read: Callable[[str], Any] | None) -> Any:
    if isinstance(rows, datasets.Dataset):
        schema = rows.data.schema  # `rows.features` is a copy of the types of all columns
        place = schema.get_field_index(name)
        if place < 0 or not (pa.types.is_string(schema.types[place]) or pa.types.is_large_string(schema.types[place])):
            return None
        return rows.with_format("arrow").select_columns([name])[:][name] if read is None else read(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    values = [row.get(name) for row in rows]
    texts = any(isinstance(value, str) for value in values)
    return pa.chunked_array([pa.array(values)]) if texts and all(isinstance(v, str | None) for v in values) else None
