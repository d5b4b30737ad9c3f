"""Columns that are the index of a data frame, and no values of rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_OF_PANDAS = re.compile(r"__index_level_\d+__$")
_READ_AGAIN = re.compile(r"Unnamed: (\d+)(\.\d+)*$")
UNNAMED = "\0"
"""How the name of a column begins whose name is empty."""


def is_unnamed_index(name: str) -> bool:
    """Return whether a column is an index without a name, as pandas writes it into Parquet and `datasets` keeps it."""
    return _OF_PANDAS.match(name) is not None


def index_columns(columns: Mapping[str, Any]) -> list[str]:
    """Return which columns are an index without a name.

    These are `__index_level_0__` and the like; and from the left, columns without a name, or called "Unnamed: 0", that number the
    rows: together, their whole numbers differ in all rows, in whatever order.
    """
    found = [name for name in columns if is_unnamed_index(name)]
    leading: list[str] = []
    for place, name in enumerate(columns):
        again = _READ_AGAIN.match(name)
        if not (name.startswith(UNNAMED) or (again and int(again[1]) <= place)) or not _whole(columns[name]):
            break
        leading.append(name)
    return found + (leading if leading and _differ(columns[name] for name in leading) else [])


def _whole(column: Any) -> bool:
    return bool(pa.types.is_integer(column.type)) and not column.null_count


def _differ(columns: Iterable[Any]) -> bool:
    """Return whether one of the columns, or all of them together, differ in all rows."""
    named = {str(i): column for i, column in enumerate(columns)}
    rows = len(named["0"])
    if any(len(pc.unique(column)) == rows for column in named.values()):
        return True
    return len(pa.table(named).group_by(list(named)).aggregate([])) == rows
