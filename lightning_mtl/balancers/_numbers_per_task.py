"""Numbers that are given for each task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require


def listed(values: dict[str, float] | list[float] | None) -> Iterable[float]:
    """Read numbers that are given by name or in order."""
    return values.values() if isinstance(values, dict) else values or []


def per_task(values: dict[str, float] | list[float], names: Sequence[str], parameter: str) -> Float[Tensor, " tasks"]:
    """Put numbers that are given by name or in order into the order of the tasks.

    Names of no task are left out, since a single-task twin in a comparison has some of the tasks only.

    Raises:
        ValueError: A task has none, or there are more or fewer numbers than tasks.
    """
    if isinstance(values, dict):
        missing = [name for name in names if name not in values]
        require(not missing, parameter, f"numbers of all tasks {list(names)}", values, f"Add {missing}.")
        values = [values[name] for name in names]
    require(
        len(values) == len(names), parameter, f"one number for each of {list(names)}", values, "Name them in a dict."
    )
    return torch.tensor(values, dtype=torch.get_default_dtype())
