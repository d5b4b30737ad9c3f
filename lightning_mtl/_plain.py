"""Plain data, which JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return data that JSON can hold: None for NaN and infinities, lists for tuples.

    Args:
        value: Numbers, texts, lists and dictionaries.

    Raises:
        TypeError: Something else is in it.

    Example:
        >>> plain({"scores": (1, float("nan"))})
        {'scores': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    raise TypeError(f"A record must hold numbers, texts, lists and dictionaries, got {type(value).__name__}.")
