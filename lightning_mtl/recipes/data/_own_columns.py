"""The columns that a recipe needs of a user's file, and rows in which one is empty."""

from __future__ import annotations

from collections.abc import Sequence

import datasets


def refuse_missing(option: str, columns: Sequence[str], there: Sequence[str]) -> None:
    """Check that a file has the columns that a recipe reads.

    Args:
        option: The option that names the file.
        columns: The columns that are needed.
        there: The columns of the file.

    Raises:
        ValueError: One is missing.

    Example:
        >>> refuse_missing("data.path", ["text", "topic"], ["text", "label"])
        Traceback (most recent call last):
        ValueError: `--data.path` must have the columns ['text', 'topic'], got ['text', 'label']. Rename or add: topic.
    """
    if missing := [name for name in columns if name not in there]:
        raise ValueError(
            f"`--{option}` must have the columns {list(columns)}, got {list(there)}. Rename or add: {', '.join(missing)}."
        )


def with_values(rows: datasets.Dataset, column: str) -> datasets.Dataset:
    """Leave out rows without a value in a column, and print how many there are."""
    empty = sum(value is None for value in rows[:][column])
    if not empty:
        return rows
    print(f"{empty:,} of {len(rows):,} rows have no {column!r}: they are left out.")
    return rows.filter(lambda value: value is not None, input_columns=column)
