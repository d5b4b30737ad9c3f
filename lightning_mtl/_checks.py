"""What arguments must be, and what a mistyped one may mean."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def require(holds: bool, name: str, rule: str, value: object, remedy: str) -> None:
    """Check that an argument obeys its rule.

    Raises:
        ValueError: It does not.
    """
    if not holds:
        raise ValueError(f"`{name}` must be {rule}, got {value!r}. {remedy}")


def did_you_mean(name: str, names: Iterable[str], otherwise: str = "Name one of these.") -> str:
    """Suggest the name that is most like a mistyped one, or else another remedy."""
    close = get_close_matches(name, list(names), 1)
    return f"Did you mean {close[0]!r}?" if close else otherwise
