"""Arguments that are one number for all classes or labels, or one for each."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any

from torch import Tensor


def for_each(given: Any, count: int) -> list[float]:
    """Return a number for each of `count`, given as one for all or one for each; none if they are no numbers.

    Example:
        >>> for_each(2, 3), for_each([1, 2], 2), for_each("2", 1)
        ([2.0, 2.0, 2.0], [1.0, 2.0], [])
    """
    if isinstance(given, Tensor):
        given = given.tolist()
    each = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given] * count
    return [float(number) for number in each] if all(isinstance(number, Real | Tensor) for number in each) else []
