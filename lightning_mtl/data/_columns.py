"""Columns that a source must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._checks import did_you_mean


def refuse_unknown_columns(wanted: Sequence[str], there: Sequence[str], split: str, name: str) -> None:
    """Check that a split has all columns that are wanted.

    Args:
        wanted: The columns that are wanted.
        there: The columns of the split.
        split: Name of the split.
        name: Name of its source.

    Raises:
        ValueError: It lacks one.
    """
    for column in wanted:
        if column not in there:
            hint = did_you_mean(column, there)
            raise ValueError(
                f"Source {name!r} has no column {column!r} in split {split!r}; columns are {there}. {hint}"
            )


def refuse_no_mapping(row: Any, number: int) -> None:
    """Check that a row is a mapping.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(row, Mapping):
        raise ValueError(
            f"Rows of a source must be mappings of columns, got {type(row).__name__} as row {number}. Give `collate` that makes "
            "{column: tensor} of a list of rows."
        )


def value_in(row: Any, number: int, column: str) -> Any:
    """Return the value of a column in a row.

    Raises:
        ValueError: The row is no mapping, or lacks the column.
    """
    refuse_no_mapping(row, number)
    if column not in row:
        raise ValueError(
            f"Row {number} must have column {column!r}, got columns {list(row)}. Add it; None is no label."
        )
    return row[column]
