"""Columns that go to the encoder as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._base import Columns, Input
from ._tensors import stacked


class Plain(Input):
    """Columns of numbers, or of lists or arrays of them, that become tensors as they are.

    Args:
        columns: The names of the columns.

    Example:
        >>> Plain(["x"]).collate({"x": [[1.0, 2.0], [3.0, 4.0]]})
        {'x': tensor([[1., 2.],
                [3., 4.]])}
    """

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns

    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Return the columns as they are."""
        for name in self.columns:
            _refuse_gaps(name, columns.get(name, []), rows)
        return {name: columns[name] for name in self.columns if name in columns}

    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Stack the values."""
        return {name: stacked(values) for name, values in prepared.items()}


def _refuse_gaps(column: str, values: list[Any], rows: Sequence[int]) -> None:
    """Reject a row without a list or an array where other rows have one; missing numbers are NaN, which is checked later."""
    if any(value is None for value in values) and any(isinstance(value, list | np.ndarray) for value in values):
        row = next(row for row, value in zip(rows, values, strict=True) if value is None)
        raise ValueError(
            f"Column {column!r} must have a value in every row, got none in row {row}. Fill it or drop the row."
        )
