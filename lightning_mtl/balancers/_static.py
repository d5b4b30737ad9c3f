"""Fixed weights."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from .._checks import require_numbers
from ._base import LossBalancer
from ._numbers_per_task import per_task
from ._task_state import take


class Static(LossBalancer):
    """Add up the losses, each times a fixed weight: S = sum of w[k] L[k].

    Well-chosen fixed weights are hard to beat: Xin et al., "Do current multi-task optimization methods in deep learning
    even help?", NeurIPS 2022; Kurin et al., "In defense of the unitary scalarization", NeurIPS 2022.

    Args:
        weights: By name of the task, or in the order of the tasks. Default: 1 for each. Names that are no task are ignored.

    Raises:
        ValueError: A weight is negative or not finite; from `build`: a task has none.

    Example:
        >>> import torch
        >>> Static([1.0, 0.5])(torch.tensor([3.0, 4.0]))
        tensor(5.)
    """

    factors: Tensor

    def __init__(self, weights: dict[str, float] | list[float] | None = None) -> None:
        super().__init__()
        require_numbers("weights", weights, "0 turns a task off.", at_least=0, optional=True)
        self.weights = weights

    def build(self, names: Sequence[str]) -> None:
        """Store the weights in the order of the tasks."""
        super().build(names)
        if self.weights is not None:
            self.give("factors", per_task(self.weights, names, "weights"))

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Return the weighted sum of the losses."""
        losses, where = self.present(losses, tasks)
        return losses.sum() if self.weights is None else take(self.factors, where) @ losses
