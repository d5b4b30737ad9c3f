"""Columns that go to the encoder as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ._base import Columns, Input
from ._tensors import stacked

_MASKS = ("attention_mask", "mask")
"""Columns that say which positions of a row are there; the padding of columns of their lengths is no value."""
_TOKENS = ("input_ids", "token_type_ids", "position_ids", "special_tokens_mask", *_MASKS)
"""Columns of tokens, which are padded with 0."""

_NUMBERS = {bool, int, float, list, type(None)}
_KINDS = (bool, int, float, np.generic, np.ndarray, Tensor, str, list, tuple, Mapping)


class Plain(Input):
    """Columns of numbers, or of lists or arrays of them, that become tensors as they are.

    Lists must have one length: a short one is an error, not a sequence. Sequences are columns of tokens ("input_ids" and those that
    go with it), or as long as the row's "attention_mask" or "mask"; they are padded with 0.

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
        """Return the columns as they are.

        Raises:
            ValueError: A row without a value, or with another number of values than other rows.
        """
        for name in self.columns:
            _refuse_gaps(name, columns.get(name, []), rows)
            _refuse_mixture(name, columns.get(name, []), rows)
        shapes = {name: [_shape(value) for value in columns[name]] for name in self.columns if name in columns}
        self.refuse_uneven(shapes, rows)
        return {name: columns[name] for name in self.columns if name in columns}

    def refuse_uneven(self, shapes: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> None:
        """Check that rows have one number of values in each column that is no sequence.

        Args:
            shapes: For each column, the number of values (or the shape) of each row.
            rows: The numbers of the rows, for the error message.

        Raises:
            ValueError: A row has another.
        """
        masks = [[_length(shape) for shape in shapes[name]] for name in _MASKS if name in shapes]
        for name, found in shapes.items():
            odd = next((place for place, shape in enumerate(found) if shape != found[0]), None)
            if odd is None or name in _TOKENS or [_length(shape) for shape in found] in masks:
                continue
            raise ValueError(
                f"Column {name!r} must hold as many numbers in every row, got {_shown(found[odd])} in row {rows[odd]} and "
                f"{_shown(found[0])} in row {rows[0]}. Correct or drop the row. If these are sequences, give beside them a column "
                "'mask' with a 1 for each number, by which shorter ones are padded; tokens belong in 'input_ids'."
            )

    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Stack the values."""
        return {name: stacked(values) for name, values in prepared.items()}


def _shape(value: Any) -> Any:
    """Return the shape of a value: that of an array, or the length of a list, with those of lists in it."""
    if isinstance(value, np.ndarray | Tensor):
        return tuple(value.shape)
    if not isinstance(value, list | tuple):
        return ()
    inner = {_shape(of) for of in value} if value and isinstance(value[0], list | tuple) else {()}
    return (len(value), *(inner.pop() if len(inner) == 1 else ("uneven lists",)))


def _length(shape: Any) -> Any:
    return shape[0] if isinstance(shape, tuple) and shape else shape


def _shown(shape: Any) -> str:
    return " x ".join(map(str, shape)) if isinstance(shape, tuple) and shape else "1" if shape == () else str(shape)


def _refuse_gaps(column: str, values: list[Any], rows: Sequence[int]) -> None:
    """Reject a row without a list or an array where other rows have one; missing numbers are NaN, which is checked later."""
    if any(value is None for value in values) and any(isinstance(value, list | np.ndarray) for value in values):
        row = next(row for row, value in zip(rows, values, strict=True) if value is None)
        raise ValueError(
            f"Column {column!r} must have a value in every row, got none in row {row}. Fill it or drop the row."
        )


def _refuse_mixture(column: str, values: list[Any], rows: Sequence[int]) -> None:
    """Reject values of which no tensor can be made: of other types, or texts beside numbers."""
    if {*map(type, values)} <= _NUMBERS:
        return
    texts = isinstance(values[0], str)
    for row, value in zip(rows, values, strict=True):
        fits = isinstance(value, _KINDS) and isinstance(value, str) is texts
        if not fits and value is not None:
            raise ValueError(
                f"Column {column!r} must hold numbers, or lists or arrays of them, in every row, got {type(value).__name__} in row {row}: "
                f"{str(value)[:60]!r}. Convert the column, or name what it is: `text`, `features` or `image` of Source."
            )
