"""Dynamic weight average: weights from how fast each loss falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from .._checks import require_number
from ._base import LossBalancer
from ._task_state import put, take


class DynamicWeightAverage(LossBalancer):
    """Give more weight to losses that fall slowly: w = K softmax(r / T), r[k] = mean of the last epoch / of the one before.

    In the first two epochs all weights are 1. A task that is absent for an epoch keeps its means; one with fewer than two
    means has r = 1. Reference: Liu, Johns and Davison, "End-to-end multi-task learning with attention", CVPR 2019.

    Args:
        temperature: The higher it is, the more equal the weights are.

    Raises:
        ValueError: `temperature` is not above 0.

    Example:
        >>> import torch
        >>> balancer = DynamicWeightAverage()
        >>> for epoch, losses in enumerate([[4.0, 4.0], [2.0, 4.0], [1.0, 1.0]]):
        ...     balancer.observe(torch.tensor(losses), step=epoch, epoch=epoch)
        >>> losses = torch.ones(2, requires_grad=True)
        >>> balancer(losses).backward()
        >>> losses.grad
        tensor([0.8756, 1.1244])
    """

    kept: ClassVar = {"sums": 0.0, "counts": 0.0, "last": math.nan, "before": math.nan, "epochs": 0.0}
    sums: Tensor
    counts: Tensor
    last: Tensor
    before: Tensor
    epochs: Tensor

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        require_number("temperature", temperature, "The paper's is 2.", above=0, finite=False)
        self.temperature = temperature
        self._epoch: int | None = None

    def observe(
        self, losses: Float[Tensor, " present"], step: int, epoch: int, tasks: Sequence[int] | None = None
    ) -> None:
        """Add up the losses of the epoch; at the first step of an epoch, compute the means of the last one."""
        super().observe(losses, step, epoch, tasks)
        losses, where = self.present(losses, tasks)
        if epoch != self._epoch:
            self._end_epoch(epoch)
        put(self.sums, where, take(self.sums, where).add_(losses))
        put(self.counts, where, take(self.counts, where).add_(1))

    def _end_epoch(self, epoch: int) -> None:
        """Move the means of tasks whose sums belong to another epoch to `last`: on the device, without synchronization."""
        ended = (self.epochs != epoch) & (self.counts > 0)
        self.before.copy_(self.last.where(ended, self.before))
        self.last.copy_((self.sums / self.counts).where(ended, self.last))
        self.sums.masked_fill_(ended, 0)
        self.counts.masked_fill_(ended, 0)
        self.epochs.fill_(epoch)
        self._epoch = epoch

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self._epoch = None

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Return the weighted sum of the losses."""
        losses, where = self.present(losses, tasks)
        ratios = (take(self.last, where) / take(self.before, where)).nan_to_num(1.0)
        return len(losses) * (ratios / self.temperature).softmax(0) @ losses
