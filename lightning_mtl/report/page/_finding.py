"""A question, its answer, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "bad", "open", "missing"]
"""What kind of an answer it is: evidence, a warning, nothing either way, or not measured."""


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of a row is what it is about."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Finding:
    """What the records say to a question.

    Args:
        question: The question.
        answer: One or two plain sentences.
        tone: What kind of an answer it is.
        evidence: Sentences with the numbers it rests on.
        sections: Keys of the sections of the page that show them.
        table: Numbers that are easier to read side by side.
    """

    question: str
    answer: str
    tone: Tone
    evidence: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    table: Table | None = None
