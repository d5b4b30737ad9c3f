"""Arguments with a number for each task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require


def per_task(values: dict[str, float] | list[float], names: Sequence[str], parameter: str) -> Float[Tensor, " tasks"]:
    """Return numbers, given by name or in order, in the order of the tasks.

    Names that are no task are ignored, because the single-task baseline of a comparison has only one of the tasks.

    Raises:
        ValueError: A task has no number, or the number of values is not the number of tasks.
    """
    if isinstance(values, dict):
        missing = [name for name in names if name not in values]
        require(not missing, parameter, f"numbers of all tasks {list(names)}", values, f"Add {missing}.")
        values = [values[name] for name in names]
    require(
        len(values) == len(names), parameter, f"one number for each of {list(names)}", values, "Name them in a dict."
    )
    return torch.tensor(values, dtype=torch.get_default_dtype())
