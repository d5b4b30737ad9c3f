"""A question and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "bad", "open", "missing"]
"""What kind of an answer it is: fine, a warning, no evidence either way, or not measured."""


@dataclass(frozen=True)
class Finding:
    """What the records say to a question.

    Args:
        question: The question.
        answer: One or two plain sentences.
        tone: What kind of an answer it is.
        evidence: Sentences with the numbers it rests on.
        sections: Keys of the sections of the page that show them.
    """

    question: str
    answer: str
    tone: Tone
    evidence: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
