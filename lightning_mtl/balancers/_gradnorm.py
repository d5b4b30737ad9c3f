"""GradNorm: gradient norms that depend on how fast each task learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from .._checks import require_number
from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector


class GradNorm(CosineBalancer):
    """Give tasks that learn slowly larger gradients: w[k] |g[k]| is proportional to r[k]^alpha, and the weights add up to K.

    r[k] is the ratio of task k's loss to its first loss, divided by the mean ratio of all tasks. Reference: Chen et al.,
    "GradNorm: gradient normalization for adaptive loss balancing in deep multitask networks", ICML 2018, equations 1 and 2.

    The paper learns the weights, with one gradient step in each step. Here they are the exact minimum, where all terms of
    equation 2 are zero. So they need no learning rate, and follow the gradients of each step at once.

    Args:
        alpha: How strongly slow tasks are favoured; 0 makes all norms equal. The paper uses 1.5 for tasks that differ much.

    Raises:
        ValueError: `alpha` is negative or not finite.

    Example:
        >>> import torch
        >>> balancer = GradNorm()
        >>> balancer.observe(torch.tensor([1.0, 1.0]), step=0, epoch=0)
        >>> balancer.observe(torch.tensor([0.25, 1.0]), step=1, epoch=0)
        >>> balancer(torch.eye(2))
        tensor([0.2222, 1.7778])
    """

    kept: ClassVar[dict[str, int]] = {"first": 1, "last": 1}
    first: Tensor
    last: Tensor

    def __init__(self, alpha: float = 1.5) -> None:
        super().__init__()
        require_number("alpha", alpha, "The paper's is 1.5.", at_least=0)
        self.alpha = alpha

    def observe(
        self, losses: Float[Tensor, " present"], step: int, epoch: int, tasks: Sequence[int] | None = None
    ) -> None:
        """Keep the losses of the step, and the first loss of each task."""
        super().observe(losses, step, epoch, tasks)
        self._build_if_new(len(losses), tasks)
        where = slice(None) if tasks is None else list(tasks)
        self.last[where] = losses.to(self.last)
        known = self.first.isfinite() & (self.first > 0)
        self.first.copy_(self.first.where(known, self.last))

    def coefficients(self, gradients: Geometry) -> Vector:
        """Make the norms proportional to r^alpha."""
        numbers = list(gradients.tasks)
        first, last = (losses.numpy(force=True).astype(np.float64)[numbers] for losses in (self.first, self.last))
        usable = (first > 0) & (last > 0) & np.isfinite(first) & np.isfinite(last)
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.where(usable, np.log(last) - np.log(first), 0.0)
        powers = np.exp(self.alpha * (logs - logs.max()))
        weights: Vector = powers * (len(powers) / float((powers / gradients.norms).sum()))
        return weights
