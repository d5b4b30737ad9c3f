"""Columns of texts that may be something else, where a task or an encoder needs them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ._cells import Cells, CellsError, Way
from ._kinds import LIST, first, is_text, open_decimals
from ._labels import as_chunks
from ._numbers import CODE, NO_NUMBER, WHOLE, affixes, all_match, any_match, numbers_of, style_of, tidied, with_points
from ._table_of_csv import NA_OFTEN

_CLASSES = 20
"""So many different whole numbers may be names of classes."""
_NO_LABEL = ["?", "NULL", "Null", "null", "n/a", "N/A", "NaN", "nan", "<NA>", "#N/A", "\\N", "(null)", "(blank)"]
"""What means that there is no label, whatever other programs may have meant."""
_RARELY_LABELS = ["NA", "na", "None", "none", "NONE", "-", "--", ".", "missing", "unknown"]
"""What means that there is no label where it is rare."""
_RARE = 0.05
_SIGNS = r"[\p{Sc}%\x{2030}]"


def refuse_doubts(name: str, column: Any, cells: Cells, *, target: bool) -> None:
    """Check that a column is surely what it looks like; columns of other than texts are.

    Args:
        name: The column.
        column: Its values, as Arrow.
        cells: What the user says of them; a type that is given settles all doubts.
        target: Whether a task learns it, so that each different text is a class.

    Raises:
        CellsError: It can be read in two ways.
    """
    if cells.kind_of(name) is not None or not is_text(column):
        return
    known = pc.filter(column, pc.not_equal(pc.utf8_trim_whitespace(column), ""))
    counts = _counts(known)
    values = pa.array([text for text in counts if text.strip() not in NO_NUMBER], pa.string())
    if not len(values):
        return
    gaps = [text for text in counts if text.strip() in NO_NUMBER]
    if all_match(values, LIST):
        _refuse(name, column, pa.array(values), "lists", "list", target)
    numeric = tidied(values)
    is_number = _are_numbers(numeric)
    share = sum(counts[text] for text in pc.filter(values, is_number).to_pylist())
    total = sum(counts[text] for text in values.to_pylist())
    if share == total:
        _refuse_numbers(name, column, numeric, gaps, target=target)
    elif 2 * share > total:
        odd = pc.filter(values, pc.invert(is_number)).to_pylist()
        row, value = _first_of(column, odd)
        ways = [Way("missing", sorted(odd)[:5], "if there is no number")] if len(odd) <= 5 else []
        raise CellsError(
            f"Column {name!r} must hold numbers or {_others(target)}, got mostly numbers, and {value!r} in row {row}",
            [*ways, _as_text(name, target)],
            "Else correct the column",
        )
    else:
        _refuse_affixes(name, column, values, target=target)
    if target:
        _refuse_gaps(name, column, counts, gaps)


def refuse_frequent_na(name: str, field: pa.Field) -> None:
    """Check that a target was read without a doubt whether its NA are labels.

    Raises:
        CellsError: NA is often found among its texts, and nothing says whether it is one.
    """
    often = (field.metadata or {}).get(NA_OFTEN)
    if often is not None:
        raise CellsError(
            f"Column {name!r} must hold labels that can be read in one way, got 'NA' without quotes in {int(often):,} rows",
            [
                Way("types", {name: "text"}, "where the file is read, if it is a class"),
                Way("missing", ["NA"], "if there is no label"),
            ],
        )


def _counts(known: Any) -> dict[str, int]:
    counted = pc.value_counts(known)
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _are_numbers(values: Any) -> Any:
    pattern = r"^[+-]?(\d[\d.,]*|[.,]\d+)([eE][+-]?\d+)?$"
    return pc.match_substring_regex(values, pattern)


def _refuse_numbers(name: str, column: Any, values: Any, gaps: list[str], *, target: bool) -> None:
    """Refuse numbers that are texts, unless they are names of a few classes, or codes with leading zeros."""
    whole = all_match(values, WHOLE)
    if whole and not gaps and (any_match(values, CODE) or numbers_of(values) is None):
        return
    if whole and not gaps and target and len(values) <= _CLASSES:
        return
    style = style_of(values)
    if not whole and style.comma and style.point and style.decimal(comma=False) is None:
        raise open_decimals(name, column)
    if not (style.comma or style.point) or not _reads(values, style.decimal(comma=False) or "."):
        return  # dates, versions, times
    _refuse(name, column, values, "numbers", "number", target, gaps)


def _reads(values: Any, decimal: str) -> bool:
    return (
        numbers_of(values, codes=True) is not None or numbers_of(with_points(values, decimal), codes=True) is not None
    )


def _refuse_affixes(name: str, column: Any, values: Any, *, target: bool) -> None:
    bare = affixes(values)
    if bare is None:
        return
    sure = all_match(values, _SIGNS)
    if sure or (len(values) > _CLASSES and len(bare[1]) <= 3):
        _refuse(name, column, values, "numbers with a currency or a unit", "number", target)


def _refuse_gaps(name: str, column: Any, counts: dict[str, int], gaps: list[str]) -> None:
    total = sum(counts.values())
    for text in gaps:
        bare = text.strip()
        rare = counts[text] < _RARE * total
        if bare in _NO_LABEL or (bare in _RARELY_LABELS and rare and bare != "NA"):
            row, _ = _first_of(column, [text])
            raise CellsError(
                f"Column {name!r} must hold labels that can be read in one way, got {text!r} in {counts[text]:,} of "
                f"{total:,} rows, first in row {row}",
                [Way("missing", [text], "if there is no label"), Way("types", {name: "text"}, "if it is a class")],
            )


def _refuse(
    name: str, column: Any, values: Any, found: str, kind: str, target: bool, gaps: list[str] | None = None
) -> None:
    row, value = first(as_chunks(column), r"\S")
    if gaps:
        place, gap = _first_of(column, gaps)
        found = f"{found} ({value!r} in row {row}), and {gap!r} in row {place}, written as texts"
    else:
        found = f"{found} written as texts ({value!r} in row {row})"
    means = "if they are numbers" if kind == "number" else "if they are lists"
    raise CellsError(
        f"Column {name!r} must hold numbers or {_others(target)}, got {found}",
        [Way("types", {name: kind}, means), _as_text(name, target)],
    )


def _as_text(name: str, target: bool) -> Way:
    return Way("types", {name: "text"}, f"if they are {_others(target)}")


def _others(target: bool) -> str:
    return "classes" if target else "categories"


def _first_of(column: Any, texts: list[str]) -> tuple[int, str]:
    found = pc.is_in(column, value_set=pa.array(texts, column.type))
    row = pc.index(found, True).as_py()
    return row, column[row].as_py()
