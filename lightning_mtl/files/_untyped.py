"""Columns of a file that says no types: each is read as what all of its cells surely are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ._cells import Cells
from ._kinds import LIST, as_kind, lists_of, without
from ._labels import all_indented, as_chunks, same_labels
from ._numbers import (
    NO_NUMBER,
    Style,
    all_match,
    dotted_thousands,
    numbers_of,
    style_of,
    tidied,
    with_points,
)

NO_TEXT = ["", "N/A", "NaN", "nan", "<NA>", "#N/A", "\\N"]
"""What is never a text of its own."""
_NA = "NA"
_FEW, _SHARE = 5, 0.05
"""NA in fewer cells, or a smaller share of them, is rare."""
_NUMERIC = (
    r"^[\s\d.,eE+'\x{2019}\x{00a0}\x{202f}\x{2009}\x{2212}-]*\d[\s\d.,eE+'\x{2019}\x{00a0}\x{202f}\x{2009}\x{2212}-]*$"
)
_TRUE = pa.array(["true", "True", "TRUE"])
_BOOLEAN = pa.array(["true", "True", "TRUE", "false", "False", "FALSE"])

Unquoted = Callable[[str, list[str]], Any]
"""Returns which cells of a column hold one of these texts without quotes."""


def read_columns(
    texts: Mapping[str, Any], cells: Cells, *, comma: bool, unquoted: Unquoted | None
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return columns with types.

    Args:
        texts: {column: its cells}; columns that are numbers already are returned as they are.
        cells: What the user says of the cells.
        comma: Whether the file comes from a place with decimal commas.
        unquoted: Tells cells without quotes, where the file has quotes.

    Returns:
        {column: its values}, and how many cells were NA in columns of texts where it is often found, and may be a text.
    """
    made: dict[str, Any] = {}
    styles: dict[str, tuple[Any, Style]] = {}
    for name, column in texts.items():
        kind = cells.kind_of(name)
        if not pa.types.is_string(column.type):
            made[name] = column
        elif kind is not None:
            made[name] = as_kind(name, column, kind, cells)
        else:
            made[name], styles[name] = _numbers_or_style(column, cells.missing_in(name))
    comma = comma or any(style.surely_comma and style.comma for _, style in styles.values() if style)
    often: dict[str, int] = {}
    for name, (filled, style) in styles.items():
        if made[name] is not None and not _may_be_thousands(made[name], filled, comma=comma, cells=cells):
            continue
        style = style if made[name] is None else style_of(pc.drop_null(pc.unique(filled)))
        made[name] = _with_decimals(filled, style, cells.decimal or (style.decimal(comma) if style else None))
        if made[name] is None:
            made[name], count = _texts(name, texts[name], cells.missing_in(name), unquoted)
            often |= {name: count} if count else {}
    return {name: as_chunks(made[name]) for name in texts}, often


def _numbers_or_style(column: Any, absent: list[str] | None) -> tuple[Any, tuple[Any, Any]]:
    """Return the numbers of a column, or None; its cells with null for gaps, and how they are written if they may be numbers."""
    nothing = None, (column, None)
    filled = without(column, NO_NUMBER if absent is None else [*absent, ""])
    start = pc.drop_null(filled.slice(0, 1000) if len(filled) > 1000 else filled)
    if not all_match(start, _NUMERIC + r"|^\s*$|^[+-]?inf$"):
        return nothing
    made = numbers_of(filled)
    if made is None:
        filled = without(tidied(filled), NO_NUMBER if absent is None else [*absent, ""])
        made = numbers_of(filled)
    if _mostly_gaps(column, filled):
        return nothing
    style = style_of(pc.drop_null(pc.unique(filled))) if made is None else None
    return made, (filled, style)


def _may_be_thousands(made: Any, filled: Any, *, comma: bool, cells: Cells) -> bool:
    """Return whether numbers such as 1.234 may be whole, because others in the file have decimal commas."""
    commas = cells.decimal == "," or (cells.decimal is None and comma)
    return bool(commas and pa.types.is_floating(made.type) and dotted_thousands(filled))


def _mostly_gaps(column: Any, filled: Any) -> bool:
    """Return whether more cells hold something that means no number than hold a number."""
    empty = pc.sum(pc.equal(pc.binary_length(column), 0)).as_py() or 0
    return bool(2 * (len(filled) - filled.null_count) < len(column) - empty) or filled.null_count == len(filled)


def _with_decimals(filled: Any, style: Style | None, decimal: str | None) -> Any:
    if style is None or decimal is None or not (style.comma if decimal == "," else style.point):
        return None
    return numbers_of(with_points(filled, decimal))


def _texts(name: str, column: Any, absent: list[str] | None, unquoted: Unquoted | None) -> tuple[Any, int]:
    gone = pc.match_substring_regex(column, r"^\s*$")
    column = pc.if_else(gone, pa.scalar(None, column.type), column)
    known = pc.drop_null(column)
    if len(known) == 0:
        return column, 0
    often = 0
    if absent is None:
        column, often = _without_na(name, without(column, NO_TEXT), unquoted)
    else:
        column = without(column, absent)
    if all_indented(column):
        column = pc.utf8_trim_whitespace(column)
    for read in (_booleans, _lists):
        made = read(column)
        if made is not None:
            return made, often
    return same_labels(column), often


def _without_na(name: str, column: Any, unquoted: Unquoted | None) -> tuple[Any, int]:
    """Return a column without NA, unless it stands in quotes; and how often it was left out where that is not sure."""
    is_na = pc.fill_null(pc.equal(column, _NA), False)
    count = pc.sum(is_na).as_py() or 0
    known = len(column) - column.null_count
    if not count or count == known:
        return (pc.if_else(is_na, None, column) if count else column), 0
    if unquoted is not None:
        others = pc.and_kleene(pc.is_valid(column), pc.invert(is_na))
        sample = pc.unique(pc.filter(column, others)).to_pylist()[:1000]
        bare, bare_others = unquoted(name, [_NA]), unquoted(name, sample)
        is_na = pc.and_(is_na, bare)
        count = pc.sum(is_na).as_py() or 0
        seen = pc.and_(others, pc.is_in(column, value_set=pa.array(sample, column.type)))
        sure = pc.any(pc.and_(seen, pc.invert(bare_others))).as_py() is True
    else:
        sure = False
    often = 0 if sure or count < _FEW or count < _SHARE * known else count
    return pc.if_else(is_na, pa.scalar(None, column.type), column), often


def _booleans(column: Any) -> Any:
    values = pc.drop_null(pc.unique(column))
    if len(values) == 0 or not pc.all(pc.is_in(values, value_set=_BOOLEAN)).as_py():
        return None
    return pc.if_else(pc.is_valid(column), pc.is_in(column, value_set=_TRUE), None)


def _lists(column: Any) -> Any:
    known = pc.drop_null(column)
    return lists_of(column) if len(known) and all_match(known, LIST) else None
