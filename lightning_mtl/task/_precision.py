"""The precision of a network, in which its inputs must come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def precision_of(network: nn.Module) -> torch.dtype | None:
    """Return the type of a network's real parameters; None where it has none, several, or one that no input can have.

    Example:
        >>> precision_of(nn.Linear(2, 1).double())
        torch.float64
    """
    found = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    return found.pop() if len(found) == 1 and found <= set(_PRECISIONS) else None


def in_precision(columns: Mapping[str, Any], precision: torch.dtype | None) -> dict[str, Any]:
    """Return columns whose real numbers have a precision; as they are where it is None.

    Example:
        >>> in_precision({"x": torch.ones(1), "ids": torch.ones(1, dtype=torch.long)}, torch.float64)
        {'x': tensor([1.], dtype=torch.float64), 'ids': tensor([1])}
    """
    if precision is None:
        return dict(columns)
    return {name: column.to(precision) if _is_real(column) else column for name, column in columns.items()}


def _is_real(column: Any) -> bool:
    return isinstance(column, Tensor) and column.is_floating_point()
