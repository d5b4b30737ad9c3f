"""CSV files as tables with types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ._cells import Cells
from ._csv import CsvText
from ._csv_lines import bad_header
from ._index import UNNAMED, index_columns
from ._numbers import NO_NUMBER, numbers_of
from ._untyped import read_columns

NA_OFTEN = b"lightning_mtl.na"
"""Key of a field's metadata: how many cells of the column were NA, unquoted, and might be texts."""
_SAMPLE = 500


def table_of_csv(data: bytes, file: Path, separator: str, cells: Cells) -> pa.Table:
    """Return the rows of a CSV file with the types that all of its cells show.

    Args:
        data: The file, in UTF-8 without a byte order mark.
        file: Its name, for error messages.
        separator: What usually stands between the fields of such a file.
        cells: What the user says of its cells.

    Raises:
        ValueError: Broken lines, a header that does not name the columns, or cells that can be read in two ways.
    """
    text = CsvText(data, file, separator)
    names = [name or f"{UNNAMED}{i}" for i, name in enumerate(text.names)]
    comma = text.separator == ";" and cells.decimal is None
    guessed = {} if comma or cells.decimal == "," else _plain_numbers(text, names, cells)
    read = text.read(guessed, NO_NUMBER if cells.missing is None else [*_for_all(cells), ""])
    read = _without_gaps(text, read)
    columns = _without_headers(dict(zip(names, read, strict=True)))
    unquoted = (lambda name, values: text.bare(names.index(name), values)) if text.quoted else None
    if unquoted and len(columns[names[0]]) != len(read[0]):
        unquoted = None  # rows were left out
    made, often = read_columns(columns, cells, comma=comma, unquoted=unquoted)
    if guessed and any(pa.types.is_floating(made[names[i]].type) for i in guessed) and _shows_commas(columns, made):
        made, often = read_columns(dict(zip(names, text.read(), strict=True)), cells, comma=True, unquoted=unquoted)
    return _table(_named(made, file), often)


def _for_all(cells: Cells) -> list[str]:
    return [] if cells.missing is None or isinstance(cells.missing, Mapping) else list(cells.missing)


def _plain_numbers(text: CsvText, names: list[str], cells: Cells) -> dict[int, Any]:
    """Return which columns begin with numbers with decimals: Arrow reads those at once, if all the rest are numbers too."""
    if isinstance(cells.missing, Mapping):
        return {}
    start = text.start(_SAMPLE)
    absent = NO_NUMBER if cells.missing is None else [*_for_all(cells), ""]
    found = {}
    for place, column in enumerate(start):
        known = pc.drop_null(pc.if_else(pc.is_in(column, value_set=pa.array(absent)), None, column))
        made = numbers_of(known) if cells.kind_of(names[place]) is None and 2 * len(known) > len(column) else None
        if made is not None and pa.types.is_floating(made.type):
            found[place] = pa.float64()
    return found


def _without_gaps(text: CsvText, read: list[Any]) -> list[Any]:
    """Return columns, read again as texts where a column of numbers mostly holds none."""
    sparse = [i for i, of in enumerate(read) if not pa.types.is_string(of.type) and 2 * of.null_count > len(of)]
    if not sparse:
        return read
    again = text.read()
    return [again[i] if i in sparse else of for i, of in enumerate(read)]


def _without_headers(columns: dict[str, Any]) -> dict[str, Any]:
    """Leave out lines that repeat the header, as where files were joined."""
    texts = {name: column for name, column in columns.items() if pa.types.is_string(column.type)}
    if len(columns) < 2 or len(texts) < len(columns):
        return columns
    again = None
    for name, column in columns.items():
        same = pc.equal(pc.utf8_trim_whitespace(column), "" if name.startswith(UNNAMED) else name)
        again = same if again is None else pc.and_(again, same)
        if not pc.any(again).as_py():
            return columns
    keep = pc.invert(again)
    return {name: pc.filter(column, keep) for name, column in columns.items()}


def _shows_commas(columns: dict[str, Any], made: dict[str, Any]) -> bool:
    """Return whether a column of texts turned out to be numbers with decimal commas."""
    return any(
        pa.types.is_string(columns[name].type)
        and pa.types.is_floating(column.type)
        and pc.any(pc.match_substring(columns[name], ",")).as_py()
        and not pc.any(pc.match_substring(columns[name], ".")).as_py()
        for name, column in made.items()
    )


def _named(columns: dict[str, Any], file: Path) -> dict[str, Any]:
    """Leave out an index, and columns without a name in which no row has a value.

    Raises:
        ValueError: Another column has no name.
    """
    index = index_columns(columns)
    kept = {
        name: column
        for name, column in columns.items()
        if name not in index and not (name.startswith(UNNAMED) and column.null_count == len(column))
    }
    if any(name.startswith(UNNAMED) for name in kept) or not kept:
        shown = ["" if name.startswith(UNNAMED) else name for name in columns]
        raise bad_header(f"an empty name in {shown}", file)
    return kept


def _table(columns: dict[str, Any], often: dict[str, int]) -> pa.Table:
    fields = [
        pa.field(name, column.type, metadata={NA_OFTEN: str(often[name]).encode()} if name in often else None)
        for name, column in columns.items()
    ]
    return pa.table(list(columns.values()), schema=pa.schema(fields))
