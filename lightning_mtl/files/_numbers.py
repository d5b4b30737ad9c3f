"""Numbers that are written as texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

NO_NUMBER = [
    *(
        "",
        "NA",
        "N/A",
        "NaN",
        "nan",
        "NAN",
        "na",
        "n/a",
        "N.A.",
        "n.a.",
        "NULL",
        "Null",
        "null",
        "None",
        "none",
        "NONE",
    ),
    *(
        "?",
        "-",
        "--",
        "---",
        ".",
        "\u2013",
        "\u2014",
        "<NA>",
        "#N/A",
        "#NA",
        "#DIV/0!",
        "#VALUE!",
        "#REF!",
        "\\N",
        "NaT",
    ),
    *("missing", "Missing", "MISSING", "unknown", "Unknown", "(null)", "(blank)"),
]
"""What stands in a column of numbers where there is none."""

PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
WHOLE = r"^[+-]?\d+$"
CODE = r"^[+-]?0\d+$"
_COMMA = r"^[+-]?(\d+|\d{1,3}(\.\d{3})+|\d*,\d+|\d{1,3}(\.\d{3})+,\d+)([eE][+-]?\d+)?$"
_SURELY_COMMA = (
    r"^[+-]?(\d+,(\d{1,2}|\d{4,})|0\d*,\d+|\d{4,},\d+|,\d+|\d{1,3}(\.\d{3})+,\d+|\d{1,3}(\.\d{3}){2,})([eE][+-]?\d+)?$"
)
_POINT = r"^[+-]?(\d+\.?\d*|\.\d+|\d{1,3}(,\d{3})+(\.\d+)?)([eE][+-]?\d+)?$"
_SURELY_POINT = r"^[+-]?(\d{1,3}(,\d{3})+\.\d*|\d{1,3}(,\d{3}){2,})$"
_DOTS = r"^[+-]?\d{1,3}\.\d{3}$"
_GROUPS = r"^([+-]?[1-9]\d{0,2})((?:[\x{00a0}\x{202f}\x{2009}'\x{2019}]\d{3})+)([.,]\d+)?$"
_MARKS = r"[\x{00a0}\x{202f}\x{2009}'\x{2019}]"
_AFFIXED = (
    r"^(?P<before>\p{Sc}|[A-Z]{3}|[A-Z]{0,2}\p{Sc})?\s*"
    r"(?P<number>[+-]?\d[\d.,]*(?:[eE][+-]?\d+)?|[+-]?[.,]\d+)\s*"
    r"(?P<after>\p{Sc}|%|\x{2030}|[A-Z]{3}|[\x{00b0}\x{00b5}\p{L}/\x{00b2}\x{00b3}^-]{1,8})?$"
)
"""A currency, a number, and a currency, per cent or a unit."""


@dataclass(frozen=True)
class Style:
    """How the numbers of a column are written.

    Args:
        comma: Whether they can have decimal commas.
        surely_comma: Whether one of them surely has.
        point: Whether they can have decimal points, with commas between thousands.
        surely_point: Whether one of them surely has such commas.
    """

    comma: bool
    surely_comma: bool
    point: bool
    surely_point: bool

    def decimal(self, comma: bool) -> str | None:
        """Return the decimal sign; None where these are no numbers, or it is open.

        Args:
            comma: Whether the rest of the file has decimal commas.
        """
        if self.comma and (self.surely_comma or (comma and not self.surely_point)):
            return ","
        if self.point and self.surely_point:
            return "."
        return None


def style_of(values: pa.Array) -> Style:
    """Return how different texts are written, if they are numbers."""
    tidy = tidied(values)
    return Style(
        comma=all_match(tidy, _COMMA),
        surely_comma=any_match(tidy, _SURELY_COMMA),
        point=all_match(tidy, _POINT),
        surely_point=any_match(tidy, _SURELY_POINT),
    )


def tidied(texts: Any) -> Any:
    """Return texts without outer blanks, with an ASCII minus, and without blanks or apostrophes between thousands."""
    texts = pc.replace_substring(pc.utf8_trim_whitespace(texts), "\u2212", "-")
    if any_match(texts, _GROUPS):
        texts = pc.if_else(
            pc.match_substring_regex(texts, _GROUPS), pc.replace_substring_regex(texts, _MARKS, ""), texts
        )
    return texts


def with_points(texts: Any, decimal: str) -> Any:
    """Return tidied texts with points before the decimals and nothing between thousands."""
    plain = pc.replace_substring(texts, "." if decimal == "," else ",", "")
    return pc.replace_substring(plain, ",", ".") if decimal == "," else plain


def dotted_thousands(texts: Any) -> bool:
    """Return whether all numbers with a point may be whole numbers with points between thousands."""
    dotted = pc.filter(texts, pc.match_substring(texts, "."))
    return len(dotted) > 0 and all_match(dotted, _DOTS)


def numbers_of(texts: Any, *, codes: bool = False) -> Any:
    """Return texts as numbers: int64, uint64 or double; None if one of them is no number.

    Args:
        texts: Texts with points before the decimals.
        codes: Whether whole numbers with leading zeros, or of more digits than a type holds, are numbers; else they are names.
    """
    known = pc.drop_null(texts)
    if len(known) == 0:
        return None
    if pc.any(pc.match_substring(known, "x")).as_py():  # Arrow would read 0x10
        return None
    for kind in (pa.int64(), pa.uint64()):
        try:
            made = pc.cast(texts, kind)
        except pa.ArrowInvalid:
            continue
        return None if not codes and _has_codes(known) else made
    try:
        made = pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        return None
    if codes or not all_match(known, WHOLE):
        return made
    large = pc.max(pc.abs(made)).as_py() or 0.0
    return None if large >= 2.0**53 or _has_codes(known) else made


def _has_codes(known: Any) -> bool:
    return bool(pc.any(pc.starts_with(known, "0")).as_py()) and any_match(known, CODE)


def affixes(values: pa.Array) -> tuple[pa.Array, set[str]] | None:
    """Return texts such as $5, 12 % or 5 kg without what stands beside the number, and all that stood there; None for others."""
    found = pc.extract_regex(tidied(values), _AFFIXED)
    if found.null_count:
        return None
    beside = {f"{row['before']} {row['after']}".strip() for row in found.to_pylist()}
    return pc.struct_field(found, "number"), beside


def all_match(texts: Any, pattern: str) -> bool:
    """Return whether all texts match; missing ones do."""
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py() is not False)


def any_match(texts: Any, pattern: str) -> bool:
    """Return whether a text matches."""
    return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())
