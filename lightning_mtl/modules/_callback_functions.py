"""Functions that callbacks put into a module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L


def keep_functions_of(callbacks: Sequence[L.Callback], lists: Sequence[list[Any]]) -> None:
    """Remove from lists the functions of callbacks that are not among these."""
    for functions in lists:
        owners = [getattr(of, "__self__", None) for of in functions]
        stay = [not isinstance(owner, L.Callback) or owner in callbacks for owner in owners]
        functions[:] = [of for of, stays in zip(functions, stay, strict=True) if stays]


def remove_doubles(lists: Sequence[list[Any]]) -> None:
    """Remove functions that stand in a list twice: a run that broke off may have left the same."""
    for functions in lists:
        functions[:] = [of for i, of in enumerate(functions) if of not in functions[:i]]
