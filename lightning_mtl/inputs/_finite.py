"""Inputs that are no finite numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def refuse_not_finite(columns: Mapping[str, Any], where: str, rows: Sequence[int]) -> None:
    """Reject input columns with a number that is NaN, infinite, or too large for the column's type.

    A column of zeros and minus infinities is a mask that an encoder adds to its scores, and is left alone.

    Args:
        columns: The input columns of a batch; other columns than tensors of real numbers are ignored.
        where: What a row is called in the error message.
        rows: The numbers of the rows.

    Raises:
        ValueError: A number is not finite, with row and column.

    Example:
        >>> refuse_not_finite({"x": torch.tensor([[1.0], [float("nan")]])}, "row", range(5, 7))
        Traceback (most recent call last):
        ValueError: Inputs must be numbers: row 6, column 'x' is NaN. Fill it or drop the row.
    """
    for name, column in columns.items():
        if not isinstance(column, Tensor) or not column.is_floating_point() or not column.ndim:
            continue
        finite = column.isfinite()
        if not finite.all() and not _is_mask(column):
            first = (~finite).nonzero()[0].tolist()
            row = rows[first[0]] if len(column) == len(rows) else first[0]
            found = _shown(column[tuple(first)])
            raise ValueError(
                f"Inputs must be numbers: {where} {row}, column {name!r} is {found}. Fill it or drop the row."
            )


def _is_mask(column: Tensor) -> bool:
    return bool(((column == 0) | (column == -torch.inf)).all())


def _shown(value: Tensor) -> str:
    return (
        "NaN" if value.isnan() else f"{value.item()}, or beyond what {str(value.dtype).removeprefix('torch.')} can hold"
    )
