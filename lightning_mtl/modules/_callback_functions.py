"""Functions that callbacks add to a module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L


def keep_functions_of(callbacks: Sequence[L.Callback], lists: Sequence[list[Any]]) -> None:
    """Remove from lists the functions of callbacks that are not among these."""
    for functions in lists:
        owners = [getattr(function, "__self__", None) for function in functions]
        stay = [not isinstance(owner, L.Callback) or owner in callbacks for owner in owners]
        functions[:] = [function for function, stays in zip(functions, stay, strict=True) if stays]


def remove_doubles(lists: Sequence[list[Any]]) -> None:
    """Remove functions that are in a list twice: an interrupted run may have left them there."""
    for functions in lists:
        functions[:] = [function for i, function in enumerate(functions) if function not in functions[:i]]
