"""The losses between the forward and the backward pass of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ._cut import Cut


@dataclass(slots=True)
class PendingLosses:
    """The losses of a step before their backward pass.

    Args:
        cut: Where the shared part ends; None where the gradient is computed from rows.
        losses: The losses, with their graph.
        tasks: Their tasks.
        stacked: The same losses as one tensor, whose gradient is the factor of each.
        unit: A tensor with the value 1, whose gradient is the scale of the step.
        needs_graph: For each loss whether a later one needs its graph.
    """

    cut: Cut | None
    losses: Sequence[Tensor]
    tasks: Sequence[int]
    stacked: Tensor
    unit: Tensor
    needs_graph: Sequence[bool]
