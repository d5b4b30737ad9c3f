"""What arguments must be."""

from __future__ import annotations

from typing import Any


def require(holds: bool, name: str, rule: str, value: Any, remedy: str) -> None:
    """Look whether an argument keeps its rule.

    Raises:
        ValueError: It does not.
    """
    if not holds:
        raise ValueError(f"`{name}` must be {rule}, got {value!r}. {remedy}")
