"""Divides rows into splits: at random, by the values of a column, or by time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import datasets
import numpy as np
import pandas as pd

from .._checks import did_you_mean, require_number, require_numbers
from ..files import Cells, read_rows
from ._rows import rows_of

_SHARES: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split(
    rows: Any,
    shares: Mapping[str, float] = _SHARES,
    *,
    by: str | None = None,
    time: str | None = None,
    seed: int = 0,
    cells: Cells | None = None,
) -> dict[str, datasets.Dataset]:
    """Split rows into parts that share no row, in the same way on every machine.

    By default each row is drawn independently. Give `by` where rows belong together (several rows of one patient, copies of one
    text), and `time` where the model will predict the future.

    Args:
        rows: A `datasets.Dataset`, a data frame, a list of mappings, or the path of a file, see `read_rows`.
        shares: {split: share}; they add up to one. Shares of the rows, or, with `by`, of the values of the column.
        by: Column whose equal values stay in one split; upper or lower case, and blanks at the ends, do not matter.
        time: Column of numbers, dates or ISO texts. The first split gets the oldest rows, in the order of their times, and so on;
            equal times stay in one split. Times without a zone are UTC.
        seed: Other seeds give other splits. With `time`, nothing is drawn.
        cells: What cells mean that can be read in two ways. Default: as they surely are.

    Returns:
        {split: rows}.

    Raises:
        ValueError: Shares that are not positive or do not add up to one, a column that does not exist or that lacks values,
            a time that cannot be read, `by` beside `time`, or a split without rows.
        TypeError: `rows` is none of the above.

    Example:
        >>> visits = [{"patient": i // 2, "day": i} for i in range(10)]
        >>> {name: part["day"][:] for name, part in split(visits, time="day").items()}
        {'train': [0, 1, 2, 3, 4, 5, 6, 7], 'validation': [8], 'test': [9]}
        >>> {name: part["patient"][:] for name, part in split(visits, {"train": 0.6, "test": 0.4}, by="patient").items()}
        {'train': [1, 1, 2, 2, 3, 3], 'test': [0, 0, 4, 4]}
    """
    _check_shares(shares)
    require_number("seed", seed, "0 is the default.", whole=True)
    if by is not None and time is not None:
        raise ValueError(f"`by` and `time` must not both be given, got {by!r} and {time!r}. Leave one of them out.")
    data = _dataset(rows, cells)
    if by is not None:
        parts = _by_value(_values(data, by, "by"), list(shares.values()), seed)
    elif time is not None:
        parts = _by_time(_times(_values(data, time, "time"), time), list(shares.values()))
    else:
        parts = _by_row(len(data), list(shares.values()), seed)
    if empty := [name for name, part in zip(shares, parts, strict=True) if len(part) == 0]:
        raise ValueError(
            f"`shares` must leave rows for each split, got none for {empty} of {len(data):,} rows. Give more rows or a "
            f"larger share{', or another `seed`' if by is not None else ''}."
        )
    return {name: data.select(part) for name, part in zip(shares, parts, strict=True)}


def _check_shares(shares: Mapping[str, float]) -> None:
    remedy = "Give for example {'train': 0.8, 'validation': 0.1, 'test': 0.1}."
    require_numbers("shares", shares, remedy, named=True, above=0)
    total = sum(shares.values())
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise ValueError(f"`shares` must add up to 1, got {dict(shares)} (sum {total:g}). {remedy}")


def _dataset(rows: Any, cells: Cells | None) -> datasets.Dataset:
    if isinstance(rows, str | PathLike):
        return read_rows(rows, cells=cells)
    if isinstance(rows, Mapping):
        raise TypeError(f"`rows` must be one dataset, got {type(rows).__name__} of {list(rows)}. Give one of these.")
    found = rows_of(rows, cells)
    if isinstance(found, datasets.Dataset):
        return found
    if isinstance(found, list) and all(isinstance(row, Mapping) for row in found):
        return datasets.Dataset.from_list(found)
    raise TypeError(
        f"`rows` must be a datasets.Dataset, a data frame, a list of mappings or a path, got {type(rows).__name__}. "
        "Make it one of these, or split it yourself: Source({'train': ..., 'validation': ...})."
    )


def _values(rows: datasets.Dataset, column: str, argument: str) -> list[Any]:
    if column not in rows.column_names:
        hint = did_you_mean(column, rows.column_names)
        raise ValueError(f"`{argument}` must be a column, got {column!r}; columns are {rows.column_names}. {hint}")
    values: list[Any] = rows.with_format(None)[column][:]
    for row, value in enumerate(values):
        if value is None or value != value:  # NaN, NaT
            raise ValueError(
                f"`{argument}` must be a column that has a value in every row, got {column!r} with {value} in row {row}. "
                "Fill it, or drop the row."
            )
    return values


def _by_row(count: int, shares: Sequence[float], seed: int) -> list[list[int]]:
    # numpy promises that this older generator draws the same numbers in every version.
    order = np.random.RandomState(zlib.crc32(f"{seed}/rows".encode())).permutation(count)
    return [sorted(part.tolist()) for part in np.split(order, _bounds(count, shares))]


def _by_value(values: Sequence[Any], shares: Sequence[float], seed: int) -> list[list[int]]:
    key = f"{seed}/" if seed else ""
    places = [zlib.crc32(f"{key}{str(value).strip().lower()}".encode()) / 2**32 for value in values]
    parts: list[list[int]] = [[] for _ in shares]
    bounds = np.cumsum(shares)[:-1]  # the last share takes the rest, despite rounding
    for row, split in enumerate(np.searchsorted(bounds, places, side="right").tolist()):
        parts[split].append(row)
    return parts


def _by_time(times: np.ndarray, shares: Sequence[float]) -> list[list[int]]:
    order = times.argsort(kind="stable")
    ordered = times[order]
    bounds = [_nearest_change(ordered, bound) for bound in _bounds(len(times), shares)]
    return [part.tolist() for part in np.split(order, bounds)]


def _nearest_change(ordered: np.ndarray, bound: int) -> int:
    """Move a bound between equal times to the nearer end of these times."""
    if bound in (0, len(ordered)):
        return bound
    start, end = (int(ordered.searchsorted(ordered[bound], side=side)) for side in ("left", "right"))
    return start if bound - start <= end - bound else end


def _bounds(count: int, shares: Sequence[float]) -> list[int]:
    return [round(count * bound) for bound in np.cumsum(shares)[:-1].tolist()]


def _times(values: list[Any], column: str) -> np.ndarray:
    if all(isinstance(value, int | float) for value in values):
        return np.asarray(values)
    read = pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="ISO8601", errors="coerce")
    if (bad := np.flatnonzero(read.isna())).size:
        raise ValueError(
            f"`time` must be a column of numbers, dates or ISO texts (2024-05-31, 2024-05-31 14:00), got {column!r} with "
            f"{values[bad[0]]!r} in row {bad[0]}. Convert it, e.g. with `pandas.to_datetime`."
        )
    instants: np.ndarray = read.dt.tz_localize(None).to_numpy()
    return instants
