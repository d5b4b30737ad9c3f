"""The cells of a column: a list of values, or an Arrow column, which is read as a whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ._values import missing

Column = Any
"""The values of a column: a list, or an array of `pyarrow`, in one piece or in chunks."""


def as_list(cells: Column) -> list[Any]:
    """Return the values as a list."""
    values: list[Any] = cells if isinstance(cells, list) else cells.to_pylist()
    return values


def are_texts(cells: Column) -> bool:
    """Return whether the first value that is there is a text."""
    if isinstance(cells, list):
        return isinstance(next((value for value in cells if not missing(value)), None), str)
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def odd_cell(cells: Column) -> tuple[int, Any] | None:
    """Return the first value that is no text, with its row, where a column mixes texts and others; an Arrow column has one type."""
    if not isinstance(cells, list):
        return None
    there = [(row, value) for row, value in enumerate(cells) if not missing(value)]
    others = [of for of in there if not isinstance(of[1], str)]
    return others[0] if 0 < len(others) < len(there) else None


def counts_of(cells: Column) -> dict[Any, int]:
    """Return how often each value occurs, in the order of their first rows; missing values are left out."""
    if isinstance(cells, list):
        found = dict(Counter(cells))
    else:
        counted = pc.value_counts(_plain(cells))
        found = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
    return {value: count for value, count in found.items() if not missing(value)}


def numbers_of(column: str, cells: Column, rows: Sequence[int]) -> np.ndarray:
    """Return the values as float64, NaN where a number is missing.

    Args:
        column: The name of the column.
        cells: Its values.
        rows: The numbers of their rows.

    Raises:
        ValueError: A value is no finite number, with its row.
    """
    made = _quickly(cells)
    if made is None:
        made = np.array(
            [_number(column, value, row) for value, row in zip(as_list(cells), rows, strict=True)], dtype=float
        )
    infinite = np.isinf(made)
    if infinite.any():
        first = int(infinite.argmax())
        _refuse(column, as_list(cells[first : first + 1])[0], rows[first])
    return made


def one_hot(cells: Column, categories: list[Any]) -> np.ndarray:
    """Return a feature for each category, 1 for the row's own; an unknown or missing value has none."""
    made = np.zeros((len(cells), len(categories)))
    places = _places(cells, categories)
    rows = np.flatnonzero(places >= 0)
    made[rows, places[rows]] = 1.0
    return made


def _places(cells: Column, categories: list[Any]) -> np.ndarray:
    if isinstance(cells, list):
        known = {value: i for i, value in enumerate(categories)}
        return np.array([-1 if missing(value) else known.get(value, -1) for value in cells], dtype=int)
    try:
        found = pc.index_in(_plain(cells), value_set=pa.array(categories, type=_plain(cells).type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # of another type than in training
        return _places(cells.to_pylist(), categories)
    places: np.ndarray = found.fill_null(-1).to_numpy(zero_copy_only=False)
    return places


def _quickly(cells: Column) -> np.ndarray | None:
    """Return the values as float64 where numpy or Arrow sees that all of them are numbers or missing."""
    if not isinstance(cells, list):
        if not _is_number(cells.type):
            return None
        made: np.ndarray = pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return made
    try:
        array = np.array([math.nan if value is None else value for value in cells])
    except ValueError:  # lists of different lengths
        return None
    return array.astype(float) if array.ndim == 1 and array.dtype.kind in "biuf" else None


def _is_number(kind: Any) -> bool:
    return any(of(kind) for of in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean))


def _plain(cells: Column) -> Any:
    return pc.cast(cells, cells.type.value_type) if pa.types.is_dictionary(cells.type) else cells


def _number(column: str, value: Any, row: int) -> float:
    if missing(value):
        return math.nan
    if not isinstance(value, bool | int | float | np.number):
        _refuse(column, value, row)
    try:
        return float(value)
    except OverflowError:  # a whole number beyond float64
        _refuse(column, value, row)


def _refuse(column: str, value: Any, row: int) -> NoReturn:
    found = "a date" if isinstance(value, date) else "a text" if isinstance(value, str) else type(value).__name__
    raise ValueError(
        f"Column {column!r} must hold finite numbers, got {found} in row {row}: {value!r}. Convert it (of a date, "
        "e.g. days since a first one), or drop the row."
    )
