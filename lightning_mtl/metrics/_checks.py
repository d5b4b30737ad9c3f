"""What metrics refuse, said in one form."""

from __future__ import annotations


def require(holds: bool, name: str, rule: str, value: object, remedy: str) -> None:
    """Refuse a value that breaks a rule.

    Raises:
        ValueError: It does not hold.
    """
    if not holds:
        raise ValueError(f"`{name}` must be {rule}, got {value!r}. {remedy}")
