"""What both data modules check of their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def refuse_bad_sources(sources: Any, kinds: str = "dataset") -> None:
    """Reject sources that are not {name: source}, or none at all.

    Raises:
        TypeError: They are no mapping.
        ValueError: There is none.
    """
    if not isinstance(sources, Mapping):
        raise TypeError(f"`sources` must be {{name: source}}, got {type(sources).__name__}. Name the datasets.")
    if not sources:
        raise ValueError(f"`sources` must name at least one {kinds}, got none.")
