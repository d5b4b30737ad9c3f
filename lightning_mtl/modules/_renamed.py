"""Attributes of version 0.1, which go on working for one release."""

from __future__ import annotations

import warnings
from functools import reduce
from typing import Any


class Renamed:
    """A former attribute, which warns, and returns the attribute that took its place.

    Args:
        new: Its place, with dots.
    """

    def __init__(self, new: str) -> None:
        self.new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        if module is None:
            return self
        warnings.warn(
            f"`module.{self.name}` is now `module.{self.new}`, and goes with the next release. Use that.",
            FutureWarning,
            stacklevel=2,
        )
        return reduce(getattr, self.new.split("."), module)
