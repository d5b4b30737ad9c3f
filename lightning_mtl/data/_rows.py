"""The user's data as rows by number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
from torch.utils.data import DataLoader

from ..files import Cells, read_rows, rows_of_frame, rows_of_values, settled_rows, settled_values


def rows_of(data: Any, cells: Cells | None = None) -> Any:
    """Return the rows of a file, a dataset, a ready loader of one, a data frame, or a list of mappings, to be read by number.

    Args:
        data: One of these.
        cells: What cells mean that can be read in two ways.

    Raises:
        TypeError: Rows cannot be read by number.
        ValueError: A column mixes texts and numbers, or has cells that are not what `cells` says.
    """
    if isinstance(data, str | Path):
        return read_rows(data, cells=cells)
    cells = cells or Cells()
    rows: Any = data.dataset if isinstance(data, DataLoader) else data
    if not hasattr(rows, "__getitem__"):
        raise TypeError(
            f"A dataset must have a length and return rows by number, or be an iterable, got {type(rows).__name__}. Give a "
            "`datasets.Dataset`, a list of mappings, or an iterable of mappings."
        )
    if isinstance(rows, pd.DataFrame):
        return rows_of_frame(rows, cells)
    if isinstance(rows, datasets.Dataset):
        return rows if isinstance(data, DataLoader) else settled_rows(rows, cells)
    plain = isinstance(rows, list) and rows and not isinstance(data, DataLoader)
    if not plain or not all(isinstance(row, Mapping) for row in rows):
        return rows
    columns = dict.fromkeys(column for row in rows for column in row)
    table = {column: [row.get(column) for row in rows] for column in columns}
    simple = all(isinstance(value, str | bool | int | float | None) for values in table.values() for value in values)
    if simple:
        return rows_of_values(table, cells)
    table = {column: settled_values(column, values, cells) for column, values in table.items()}
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
