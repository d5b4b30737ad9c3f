"""What names of tags say of spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

_BEGINS, _ENDS = "BSUW", "ELSUW"
"""Prefixes of the first word of a span, and of its last one; S, U and W are those of its only one."""
_LEAST = 3
"""Letters of the name of a type, where tags have no prefix: "PER", but not parts of speech as short as "O"."""


class SpanTag(NamedTuple):
    """What a tag says of its word: the type of the span, and whether it is the first or the last word of one."""

    type: str | None
    begins: bool
    ends: bool


def scheme_of(names: Sequence[Any]) -> str | None:
    """Return how tags mark spans: "BIO", "BIOES", "BMES", "BILOU" or "IO"; None where they mark none.

    Example:
        >>> scheme_of(["O", "B-PER", "I-PER"]), scheme_of(["O", "B-LOC", "L-LOC", "U-LOC"]), scheme_of(["O", "PER", "LOC"])
        ('BIO', 'BILOU', 'IO')
        >>> scheme_of(["NOUN", "VERB"])
    """
    others = [name for name in names if name != "O"]
    if not others or not all(isinstance(name, str) for name in others):
        return None
    prefixes = {name[0] if name[1:2] == "-" and len(name) > 2 else "" for name in others}
    if prefixes == {""}:
        return "IO" if len(others) < len(names) and all(map(_is_type, others)) else None
    for scheme in ("IO", "BIO", "BIOES", "BILOU", "BMES", "BMEWO"):
        if prefixes <= {*scheme} - {"O"}:
            # Some tags of the longer schemes alone, e.g. "S-1", "E-2", may be anything, unless words without a span have "O".
            return scheme if prefixes & {"B", "I"} or "O" in names else None
    return None


def span_tags(names: Sequence[str]) -> list[SpanTag] | None:
    """Return what each tag says; None where they mark no spans."""
    scheme = scheme_of(names)
    if scheme is None:
        return None
    prefixed = any(name[1:2] == "-" for name in names)
    return [_tag(name, prefixed) for name in names]


def _tag(name: str, prefixed: bool) -> SpanTag:
    if name == "O":
        return SpanTag(None, begins=False, ends=False)
    if not prefixed:
        return SpanTag(name, begins=False, ends=False)
    return SpanTag(name[2:], begins=name[0] in _BEGINS, ends=name[0] in _ENDS)


def _is_type(name: str) -> bool:
    return len(name) >= _LEAST and name.replace("_", "").replace("-", "").replace("/", "").isalpha()
