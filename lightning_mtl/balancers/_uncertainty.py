"""Uncertainty weighting: learned variances of the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ._base import LossBalancer
from ._task_state import take


class Uncertainty(LossBalancer):
    """Weigh by learned variances: S = sum of (exp(-s[k]) L[k] + s[k]) / 2, with s[k] the logarithm of the variance.

    s starts at 0 and is learned with the network. At its optimum s[k] = log L[k], a task has weight 1 / (2 L[k]).
    Reference: Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018. The
    paper omits the 1/2 before the loss of a classification, which leads to the same weights.

    Example:
        >>> import torch
        >>> balancer = Uncertainty()
        >>> balancer(torch.tensor([1.0, 4.0])).item()
        2.5
        >>> balancer.log_variances
        Parameter containing:
        tensor([0., 0.], requires_grad=True)
    """

    positive = True
    learned: ClassVar = {"log_variances": 0.0}
    log_variances: Tensor

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Return the losses weighted by the variances, plus the logarithms of the variances."""
        losses, where = self.present(losses, tasks)
        log_variances = take(self.log_variances, where)
        return 0.5 * ((-log_variances).exp() @ losses + log_variances.sum())
