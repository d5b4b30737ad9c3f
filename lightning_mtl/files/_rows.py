"""Rows of programs (data frames, datasets, tables, lists of mappings) as the user says that their cells are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa

from ._cells import Cells
from ._index import index_columns
from ._kinds import is_text
from ._labels import as_chunks
from ._settled import settled, settled_column
from ._values import column_of


def rows_of_table(table: pa.Table, cells: Cells | None, fingerprint: str | None = None) -> datasets.Dataset:
    """Return the rows of a table, with the types that `datasets` wrote into it.

    Args:
        table: The table.
        cells: What the user says of its cells; None where they are read already.
        fingerprint: Of the rows. Default: a hash of them.

    Raises:
        CellsError: A cell is not what `cells` says.
    """
    if cells is None:
        return datasets.Dataset(table, fingerprint=fingerprint)
    columns = settled(table, cells)
    own = datasets.Features.from_arrow_schema(table.schema) if b"huggingface" in (table.schema.metadata or {}) else {}
    features = {
        name: own[name]
        if name in own and column.type == table.schema.field(name).type
        else datasets.features.features.generate_from_arrow_type(column.type)
        for name, column in columns.items()
    }
    info = datasets.DatasetInfo(features=datasets.Features(features))
    return datasets.Dataset(pa.table(columns), info=info, fingerprint=fingerprint)


def rows_of_frame(frame: pd.DataFrame, cells: Cells) -> datasets.Dataset:
    """Return the rows of a data frame, without its index.

    Raises:
        ValueError: Two columns have one name.
        CellsError: A column with values of several kinds, or a cell that is not what `cells` says.
    """
    names = [str(name) for name in frame.columns]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Columns of a data frame must have names of their own, got {doubled} twice. Rename them.")
    columns = {name: _of_series(name, frame.iloc[:, place], cells) for place, name in enumerate(names)}
    return rows_of_table(pa.table(columns), cells)


def rows_of_values(columns: Mapping[str, Sequence[Any]], cells: Cells) -> datasets.Dataset:
    """Return the rows of columns of plain values.

    Raises:
        CellsError: A column with values of several kinds, or a cell that is not what `cells` says.
    """
    return rows_of_table(pa.table({name: column_of(name, of, cells) for name, of in columns.items()}), cells)


def settled_values(name: str, values: list[Any], cells: Cells) -> list[Any]:
    """Return the texts of a column as the user says that they are read; other values stay as they are."""
    if not any(isinstance(value, str) for value in values):
        return values
    column = as_chunks(column_of(name, values, cells))
    made = settled_column(name, column, cells)
    return values if made is column else list(made.to_pylist())


def settled_rows(rows: datasets.Dataset, cells: Cells) -> datasets.Dataset:
    """Return the rows of a dataset as the user says that their cells are read, without an index that has no name.

    Raises:
        CellsError: A cell is not what `cells` says.
    """
    whole = rows.data
    index = index_columns({name: whole.column(name) for name in rows.column_names})
    order = [name for name in rows.column_names if name not in index]
    rows = rows.remove_columns(index) if index else rows
    for name in order:
        if _changes(name, whole.column(name), cells):
            column = rows.with_format("arrow").select_columns([name])[:][name]
            rows = _replaced(rows, name, settled_column(name, column, cells))
    return rows.select_columns(order) if rows.column_names != order else rows


def _changes(name: str, column: Any, cells: Cells) -> bool:
    if not (cells.kind_of(name) or cells.missing_in(name) or is_text(column)):
        return False
    made = settled_column(name, column, cells)
    return made is not column and not (made.type == column.type and made.equals(column))


def _replaced(rows: datasets.Dataset, name: str, column: Any) -> datasets.Dataset:
    kept_format = rows.format
    feature = datasets.features.features.generate_from_arrow_type(column.type)
    made = rows.with_format(None).remove_columns(name).add_column(name, column.combine_chunks(), feature=feature)
    shown = [of for of in made.column_names if of in kept_format["columns"] or of == name]
    if kept_format["type"] is None and len(shown) == len(made.column_names):
        return made
    return made.with_format(kept_format["type"], columns=shown, **kept_format["format_kwargs"])


def _of_series(name: str, series: pd.Series[Any], cells: Cells) -> Any:
    if series.dtype == object:
        return as_chunks(column_of(name, [None if _is_gap(value) else value for value in series], cells))
    return as_chunks(pa.Array.from_pandas(series))


def _is_gap(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)
