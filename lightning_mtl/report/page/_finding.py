"""A question, its answer, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "bad", "open", "missing"]
"""The kind of an answer: evidence, a warning, no evidence either way, or not measured."""


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of a row says what the row is about."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Finding:
    """The answer of the records to a question.

    Args:
        question: The question.
        answer: One or two plain sentences.
        tone: The kind of the answer.
        evidence: Sentences with the numbers behind it.
        sections: Keys of the sections of the page that show them.
        table: Numbers that are easier to read side by side.
    """

    question: str
    answer: str
    tone: Tone
    evidence: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    table: Table | None = None
