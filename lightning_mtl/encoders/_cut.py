"""How a text is cut into words."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

CUT = 2
"""The rule of new tokenizers. Checkpoints hold the one that they were trained with, and those that hold none have 1."""
_ASCII = re.compile(r"\w+|[^\w\s]")
_JOINERS = "\u200c\u200d"
_UNSEEN = {0x200B: " "} | dict.fromkeys(map(ord, "\u00ad\u200e\u200f\u2060\ufeff\u202a\u202b\u202c\u202d\u202e"))
"""Characters without a look of their own: a blank of no width, soft hyphens, directions, marks of byte order."""


def words_of(text: str, cut: int = CUT) -> list[str]:
    """Return the words of a text in lower case, and its other characters one by one.

    A mark belongs to the letter before it, as Unicode says: so a word with vowel signs or accents is one word, and it is the same
    in every normal form. Joiners hold words and emojis together.

    Args:
        text: The text.
        cut: The rule; 1 parts words at their marks.

    Example:
        >>> words_of("A cre\u0300me!"), words_of("A cre\u0300me!", 1)
        (['a', 'cr\u00e8me', '!'], ['a', 'cre', '\u0300', 'me', '!'])
    """
    if cut == 1 or text.isascii():
        return _ASCII.findall(text.lower())
    # Of a dotted capital I, `lower` makes i with a dot above, which no other i has.
    lower = unicodedata.normalize("NFC", text).lower().replace("i\u0307", "i").translate(_UNSEEN)
    return _words().findall(unicodedata.normalize("NFC", lower))


@cache
def _words() -> re.Pattern[str]:
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in _marks())
    joined = f"{marks}{_JOINERS}"
    return re.compile(rf"\w[\w{joined}]*|[^\w\s{joined}][{marks}]*(?:\u200d[^\w\s{joined}][{marks}]*)*|[{marks}]+")


def _marks() -> list[tuple[int, int]]:
    """Return the first and last number of each run of marks."""
    numbers = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    runs: list[tuple[int, int]] = []
    for number in (n for n in numbers if unicodedata.category(chr(n)).startswith("M")):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs
