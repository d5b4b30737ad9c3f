"""What arguments must be, and what a mistyped one may mean."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from typing import Any


def require(holds: bool, name: str, rule: str, value: object, remedy: str) -> None:
    """Check that an argument obeys its rule.

    Raises:
        ValueError: It does not.
    """
    if not holds:
        raise ValueError(f"`{name}` must be {rule}, got {value!r}. {remedy}")


def require_numbers(**values: Any) -> None:
    """Check that arguments are real numbers, before they are compared with others.

    Args:
        values: The arguments by their names; texts are none, whatever they say.

    Raises:
        TypeError: One is none, with its name and value.

    Example:
        >>> require_numbers(dropout="0.1")
        Traceback (most recent call last):
        TypeError: `dropout` must be a number, got '0.1' (str). Give a number, or leave it out for its default.
    """
    for name, value in values.items():
        if not isinstance(value, Real):
            raise TypeError(
                f"`{name}` must be a number, got {value!r} ({type(value).__name__}). Give a number, or leave it out for its default."
            )


def did_you_mean(name: str, names: Iterable[str], otherwise: str = "Name one of these.") -> str:
    """Suggest the name that is most like a mistyped one, or else another remedy."""
    close = get_close_matches(name, list(names), 1)
    return f"Did you mean {close[0]!r}?" if close else otherwise
