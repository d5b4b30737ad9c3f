"""What the forward pass of a step leaves for its backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ._cut import Cut


@dataclass(slots=True)
class PendingLosses:
    """The losses of a step before their backward pass.

    Args:
        cut: Where the shared part ends; None where the gradient is made of rows.
        losses: The losses, with their graph.
        tasks: The tasks that they are of.
        stacked: The same losses as one tensor; in its gradient stands what each was multiplied by.
        unit: A one, in whose gradient stands the scale of the step.
        needs_graph: For each loss whether a later one needs its graph.
    """

    cut: Cut | None
    losses: list[Tensor]
    tasks: Sequence[int]
    stacked: Tensor
    unit: Tensor
    needs_graph: Sequence[bool]
