"""The user's data as rows by number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
from torch.utils.data import DataLoader

from ..files import read_rows


def rows_of(data: Any) -> Any:
    """Return the rows of a file, a dataset, a ready loader of one, a data frame, or a list of mappings, to be read by number.

    Raises:
        TypeError: Rows cannot be read by number.
        ValueError: A column mixes texts and numbers.
    """
    if isinstance(data, str | Path):
        return read_rows(data)
    rows: Any = data.dataset if isinstance(data, DataLoader) else data
    if not hasattr(rows, "__getitem__"):
        raise TypeError(
            f"A dataset must have a length and return rows by number, or be an iterable, got {type(rows).__name__}. Give a "
            "`datasets.Dataset`, a list of mappings, or an iterable of mappings."
        )
    if isinstance(rows, pd.DataFrame):
        return datasets.Dataset.from_pandas(rows, preserve_index=False)
    plain = isinstance(rows, list) and rows and not isinstance(data, DataLoader)
    if not plain or not all(isinstance(row, Mapping) for row in rows):
        return rows
    columns = dict.fromkeys(column for row in rows for column in row)
    table = {column: [row.get(column) for row in rows] for column in columns}
    for column, values in table.items():
        _refuse_mixture(column, values)
    simple = all(isinstance(value, str | bool | int | float | None) for values in table.values() for value in values)
    if simple:
        return datasets.Dataset.from_dict(table)
    return [{column: row.get(column) for column in columns} for row in rows]


def _refuse_mixture(column: str, values: list[Any]) -> None:
    texts = [isinstance(value, str) for value in values if value is not None]
    if any(texts) and not all(texts):
        odd = next(i for i, value in enumerate(values) if isinstance(value, str) is (sum(texts) * 2 < len(texts)))
        raise ValueError(
            f"Column {column!r} must hold texts or numbers, not both; row {odd} has {values[odd]!r}. Convert or drop that row."
        )
