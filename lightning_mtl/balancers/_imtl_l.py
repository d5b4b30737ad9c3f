"""IMTL-L: learned scales of the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ._base import LossBalancer
from ._task_state import take


class IMTLL(LossBalancer):
    """Bring the losses to one scale with learned factors: S = sum of exp(s[k]) L[k] - s[k].

    s starts at 0 and is learned with the network. At its optimum s[k] = -log L[k], each weighted loss is 1, and S differs from
    `LogSum` by a constant. Reference: Liu et al., "Towards impartial multi-task learning", ICLR 2021.

    Example:
        >>> import torch
        >>> IMTLL()(torch.tensor([1.0, 4.0])).item()
        5.0
    """

    positive = True
    learned: ClassVar = {"log_scales": 0.0}
    log_scales: Tensor

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Scale the losses, and subtract the logarithms of the scales."""
        losses, where = self.present(losses, tasks)
        log_scales = take(self.log_scales, where)
        return log_scales.exp() @ losses - log_scales.sum()
