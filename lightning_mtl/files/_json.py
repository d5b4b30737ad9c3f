"""JSON files as tables: all rows say what type a column has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ._cells import Cells
from ._values import column_of

_SHOWN = 5


def table_of_json(text: str, file: Path, cells: Cells) -> pa.Table:
    """Return the rows of a JSON file: an object in each line, a list of objects, or an object of columns.

    Raises:
        ValueError: What is no JSON, by line; or rows that are no objects.
        CellsError: A column with values of several kinds.
    """
    rows = _lines(text, file) if _has_lines(text, file) else _rows(_whole(text, file), file)
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise _bad(f"rows that are objects, got {json.dumps(row)[:40]} as row {number}", file)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: column_of(name, [row.get(name) for row in rows], cells) for name in names}
    return pa.table(columns)


def _has_lines(text: str, file: Path) -> bool:
    start = text.lstrip()
    if start.startswith("["):
        return False
    first, _, rest = start.partition("\n")
    if file.suffix.lower() != ".jsonl" and not rest.strip():
        return False
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return file.suffix.lower() == ".jsonl"


def _lines(text: str, file: Path) -> list[Any]:
    rows, broken = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                broken.append(f"line {number} ({error})")
    if broken:
        more = f" and {len(broken) - _SHOWN:,} more" if len(broken) > _SHOWN else ""
        raise _bad(f"an object in each line, got {', '.join(broken[:_SHOWN])}{more}", file)
    return rows


def _whole(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _bad(f"JSON, got {error}", file) from error


def _rows(made: Any, file: Path) -> list[Any]:
    """Return the rows of a list, or of an object as pandas writes it."""
    if isinstance(made, list):
        return made
    if isinstance(made, dict):
        if set(made) == {"columns", "index", "data"} or set(made) == {"columns", "data"}:
            return [dict(zip(made["columns"], row, strict=True)) for row in made["data"]]
        if set(made) == {"schema", "data"} and isinstance(made["schema"], dict):
            keys = {*made["schema"].get("primaryKey", ())} & {"index", "level_0"}
            return [{name: value for name, value in row.items() if name not in keys} for row in made["data"]]
        values = list(made.values())
        if values and all(isinstance(value, list) for value in values):
            return _of_columns({name: dict(enumerate(value)) for name, value in made.items()}, file)
        if values and all(isinstance(value, dict) for value in values):
            numbered = all(key.isdecimal() for value in values for key in value)
            return _of_columns(made, file) if numbered or not all(key.isdecimal() for key in made) else values
        if not any(isinstance(value, list | dict) for value in values):
            return [made]
    raise _bad("a list of rows, an object in each line, or an object of columns", file)


def _of_columns(columns: dict[str, dict[Any, Any]], file: Path) -> list[Any]:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or len({frozenset(column) for column in columns.values()}) > 1:
        raise _bad(f"columns of one length, got {lengths}", file)
    keys = next(iter(columns.values()))
    return [{name: column[key] for name, column in columns.items()} for key in keys]


def _bad(rule: str, file: Path) -> ValueError:
    return ValueError(
        f"`path` must hold rows that can be read, got {str(file)!r}: it must be {rule}. Correct the file."
    )
