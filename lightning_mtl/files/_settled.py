"""Tables whose columns have types: what the user says of their cells, and what is never meant."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ._cells import Cells
from ._index import index_columns
from ._kinds import as_kind, is_text, without
from ._labels import as_chunks, same_labels
from ._numbers import numbers_of, style_of, tidied, with_points


def settled(table: pa.Table, cells: Cells) -> dict[str, Any]:
    """Return the columns of a table as plain types and as the user says, without an index that has no name.

    Raises:
        CellsError: A cell is not what `cells` says.
    """
    columns = {name: plain(table.column(place)) for place, name in enumerate(table.column_names)}
    for name in index_columns(columns):
        del columns[name]
    return {name: settled_column(name, column, cells) for name, column in columns.items()}


def settled_column(name: str, column: Any, cells: Cells) -> Any:
    """Return a column as the user says; labels that only differ in outer blanks are equal.

    Raises:
        CellsError: A cell is not what `cells` says.
    """
    kind, absent = cells.kind_of(name), cells.missing_in(name)
    if absent:
        column = without(column, absent) if is_text(column) else _without_numbers(column, absent)
    if kind is not None:
        return as_chunks(as_kind(name, column, kind, cells))
    if not is_text(column):
        return column
    numbers = _with_decimals(column, cells.decimal) if cells.decimal else None
    return as_chunks(same_labels(column) if numbers is None else numbers)


def plain(column: Any) -> Any:
    """Return a column without codes of categories, and with types that `datasets` knows."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain(pc.cast(column, kind.value_type))
    if pa.types.is_decimal(kind):
        whole = kind.scale == 0 and kind.precision <= 18
        return pc.cast(column, pa.int64() if whole else pa.float64())
    if pa.types.is_string_view(kind):
        return pc.cast(column, pa.large_string())
    return column


def _without_numbers(column: Any, absent: list[str]) -> Any:
    values = numbers_of(pa.array([text for text in map(str.strip, absent) if text]))
    if values is None or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return column
    gone = pc.is_in(pc.cast(column, pa.float64(), safe=False), value_set=pc.cast(values, pa.float64()))
    return pc.if_else(gone, pa.scalar(None, column.type), column)


def _with_decimals(column: Any, decimal: str) -> Any:
    texts = tidied(without(column, [""]))
    if not pc.any(pc.match_substring_regex(texts, r"^\s*[+-]?\d*[.,]\d")).as_py():
        return None
    style = style_of(pc.drop_null(pc.unique(texts)))
    return numbers_of(with_points(texts, decimal)) if (style.comma if decimal == "," else style.point) else None
