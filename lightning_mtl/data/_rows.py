"""The user's data as rows by number."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
from torch.utils.data import DataLoader, IterableDataset

from ..files import read_rows
from ..samplers import Once, own_copy


def rows_of(data: Any) -> Any:
    """Read rows by number off a file, a dataset, a ready loader of one, a data frame, or a list of mappings.

    Raises:
        TypeError: Rows cannot be read by number.
        ValueError: A column mixes texts and numbers.
    """
    if isinstance(data, str | Path):
        return read_rows(data)
    rows: Any = data.dataset if isinstance(data, DataLoader) else data
    if not hasattr(rows, "__getitem__"):
        raise TypeError(
            f"A dataset must give rows by number and have a length, or one after another, got {type(rows).__name__}. Give a "
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


def flows(data: Any) -> bool:
    """Say whether rows come only one after another: of an iterable dataset, a generator, a ready loader of one."""
    rows = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(rows, IterableDataset | datasets.IterableDataset):
        return True
    return hasattr(rows, "__iter__") and not hasattr(rows, "__getitem__")


def beginning(rows: Any, most: int | None = None) -> tuple[Any, Any]:
    """Read the first rows of an iterable, or all of them.

    Returns:
        The rows, by number, and the iterable, which gives them all the same.
    """
    own = _keeps_state(rows) and not isinstance(rows, datasets.IterableDataset)
    read = own_copy(rows) if own else rows  # what knows where it stands may go on from where reading ended
    iterator = iter(read)
    first = list(islice(iterator, most))
    left = Once(chain(first, iterator)) if iterator is rows else rows
    if isinstance(rows, datasets.IterableDataset) and rows.features is not None:
        return datasets.Dataset.from_list(first, features=rows.features), left
    return rows_of(first), left


def saves_exactly(rows: Any) -> bool:
    """Say whether an iterable keeps a state from which it reads on with the very next row."""
    if not _keeps_state(rows):
        return False
    inner = [getattr(rows, "_ex_iterable", None)]
    for part in inner:
        if type(part).__name__.startswith("BufferShuffled"):
            return False  # `datasets` does not save what lies in the buffer
        inner += [getattr(part, "ex_iterable", None)] * hasattr(part, "ex_iterable")
        inner += getattr(part, "ex_iterables", [])
    return True


def _keeps_state(rows: Any) -> bool:
    return hasattr(rows, "state_dict") and hasattr(rows, "load_state_dict")


def _refuse_mixture(column: str, values: list[Any]) -> None:
    texts = [isinstance(value, str) for value in values if value is not None]
    if any(texts) and not all(texts):
        odd = next(i for i, value in enumerate(values) if isinstance(value, str) is (sum(texts) * 2 < len(texts)))
        raise ValueError(
            f"Column {column!r} must hold texts or numbers, not both; row {odd} has {values[odd]!r}. Convert or drop that row."
        )
