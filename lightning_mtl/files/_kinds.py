"""A column as the user says it is: texts, numbers or lists."""

from __future__ import annotations

import ast
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ._cells import Cells, CellsError, Kind, Way
from ._numbers import NO_NUMBER, affixes, numbers_of, style_of, tidied, with_points

LIST = r"(?s)^\s*\[.*\]\s*$"


def is_text(column: Any) -> bool:
    """Return whether a column of Arrow holds texts."""
    kind = column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def without(column: Any, absent: list[str]) -> Any:
    """Return texts, with null in place of those that mean that there is no value."""
    gone = pc.is_in(column, value_set=pa.array(absent, column.type))
    return pc.if_else(gone, pa.scalar(None, column.type), column)


def as_kind(name: str, column: Any, kind: Kind, cells: Cells) -> Any:
    """Return a column as texts, numbers or lists.

    Raises:
        CellsError: A cell is none, with its row.
    """
    return {"text": _as_texts, "number": _as_numbers, "list": _as_lists}[kind](name, column, cells)


def _as_texts(name: str, column: Any, cells: Cells) -> Any:
    if is_text(column):
        return without(column, [*(cells.missing_in(name) or ()), ""])
    if pa.types.is_floating(column.type) and pc.all(pc.equal(pc.round(column), column)).as_py():
        column = pc.cast(column, pa.int64())  # pandas makes 17.0 of 17 where some are missing
    try:
        return pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _wrong(name, "texts", str(column.type), "text") from error


def _as_numbers(name: str, column: Any, cells: Cells) -> Any:
    if not is_text(column):
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
            return column
        raise _wrong(name, "numbers", str(column.type), "number")
    absent = cells.missing_in(name)
    texts = tidied(without(tidied(column), NO_NUMBER if absent is None else [*absent, ""]))
    made = _read_numbers(texts, cells, name)
    if made is None:
        made = _read_affixed(texts, cells, name)
    if made is None:
        raise _not_a_number(name, column, texts, cells)
    return made


def _read_affixed(texts: Any, cells: Cells, name: str) -> Any:
    """Return numbers beside which the same currency, per cent or unit stands in all rows; None for others."""
    values = pc.drop_null(pc.unique(texts))
    bare = affixes(values)
    if bare is None or len(bare[1]) != 1:
        return None
    return _read_numbers(pc.take(bare[0], pc.index_in(texts, value_set=values)), cells, name)


def _read_numbers(texts: Any, cells: Cells, name: str) -> Any:
    plain = numbers_of(texts, codes=True) if cells.decimal != "," else None
    if plain is not None or not pc.any(pc.match_substring_regex(texts, "[,.]")).as_py():
        return plain if plain is not None else numbers_of(texts, codes=True)
    style = style_of(pc.drop_null(pc.unique(texts)))
    decimal = cells.decimal or style.decimal(comma=False)
    if decimal is None and style.comma and style.point:
        raise open_decimals(name, texts)
    fits = style.comma if decimal == "," else style.point
    return numbers_of(with_points(texts, decimal), codes=True) if decimal and fits else None


def open_decimals(name: str, texts: Any) -> CellsError:
    """Return the error for numbers such as 1,234 that can be read in two ways."""
    row, value = first(texts, r"[,.]")
    mark = "," if "," in value else "."
    other = {",": ".", ".": ","}[mark]
    plain = value.replace(mark, "")
    return CellsError(
        f"Column {name!r} must hold numbers that can be read in one way, got {value!r} in row {row}: with decimals, or thousands",
        [
            Way("decimal", mark, f"if it is {value.replace(',', '.')}"),
            Way("decimal", other, f"if it is {plain}"),
        ],
    )


def first(texts: Any, pattern: str, *, matches: bool = True) -> tuple[int, str]:
    """Return row and value of the first text that matches a pattern, or does not."""
    found = pc.equal(pc.match_substring_regex(texts, pattern), matches)
    row = pc.index(found, True).as_py()
    return row, texts[row].as_py()


def _not_a_number(name: str, column: Any, texts: Any, cells: Cells) -> CellsError:
    row, value = 0, ""
    values = pc.drop_null(pc.unique(texts)).to_pylist()
    for value in values:
        alone = pa.array([value])
        if _read_numbers(alone, cells, name) is None and _read_affixed(alone, cells, name) is None:
            break
    else:
        beside = affixes(pa.array(values))
        found = sorted(beside[1]) if beside else []
        value, found = values[0], [of for of in found if of]
        if found:
            return CellsError(
                f"Column {name!r} must hold numbers of one unit, as `types` says, got {', '.join(map(repr, found))}",
                remedy="Convert the column to one unit",
            )
    row = pc.index(texts, value).as_py()
    said = column[row].as_py()
    return CellsError(
        f"Column {name!r} must hold numbers, as `types` says, got {said!r} in row {row}",
        [Way("missing", [said], "if it means that there is no value")],
        "Else correct the cell",
    )


def _as_lists(name: str, column: Any, cells: Cells) -> Any:
    if not is_text(column):
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            return column
        raise _wrong(name, "lists", str(column.type), "list")
    texts = without(column, [*(cells.missing_in(name) or ()), ""])
    made = lists_of(texts)
    if made is None:
        row = next(i for i, value in enumerate(texts.to_pylist()) if value is not None and list_of(value) is None)
        raise _wrong(name, "lists such as [1, 2] or ['a', 'b']", f"{texts[row].as_py()!r} in row {row}", "list")
    return made


def lists_of(texts: Any) -> Any:
    """Return texts such as [1, 2] or ['a', 'b'] as lists; None if one is none, or they hold values of several kinds."""
    made = [None if value is None else list_of(value) for value in texts.to_pylist()]
    if any(value is None and text.is_valid for value, text in zip(made, texts, strict=True)):
        return None
    try:
        return pa.chunked_array([pa.array(made)])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None


def list_of(text: str) -> list[Any] | None:
    """Return the list that a text shows, as JSON or Python write it; None if it shows none."""
    for read in (json.loads, ast.literal_eval):
        try:
            made = read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(made, list):
            return made
    return None


def _wrong(name: str, rule: str, found: str, kind: str) -> CellsError:
    return CellsError(f"Column {name!r} must hold {rule}, as `types` says ({kind!r}), got {found}", remedy="Correct it")
