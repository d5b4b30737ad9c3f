"""Names of the outputs or classes of a head."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

Name = str | int | float | bool


def plain_names(names: list[Any] | None) -> list[Name] | None:
    """Return names, whole numbers of other libraries as Python's."""
    if names is None or all(isinstance(name, str | int | float) for name in names):
        return names
    return [int(name) if isinstance(name, Integral) else name for name in names]


def refuse_names(names: Sequence[Name] | None, count: int, kind: str) -> None:
    """Reject names that are not one for each output or class, or not all different.

    Args:
        names: The names, if there are any.
        count: How many there must be.
        kind: Class of the head, for the error message.

    Raises:
        ValueError: There are more or fewer, or two are equal.
    """
    if names is not None and not len(set(names)) == len(names) == count:
        raise ValueError(
            f"`names` must be {count} different names, one for each class or output of {kind}, "
            f"got {names}. Give them in the order of the numbers, or leave them out."
        )
