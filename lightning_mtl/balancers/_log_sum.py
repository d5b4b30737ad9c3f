"""The sum of the logarithms of the losses."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ._base import EPSILON, LossBalancer


class LogSum(LossBalancer):
    """Add up the logarithms of the losses: S = sum of log L[k], so that the scale of a loss does not matter.

    Each task has weight 1 / L[k]. `Uncertainty` (up to a factor of 1/2) and `IMTLL` equal it once their parameters are learned.
    Also known as scale-invariant scalarization: Navon et al., "Multi-task learning as a bargaining game", ICML 2022.

    Example:
        >>> import torch
        >>> losses = torch.tensor([0.5, 2.0], requires_grad=True)
        >>> LogSum()(losses).backward()
        >>> losses.grad
        tensor([2.0000, 0.5000])
    """

    positive = True

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Return the sum of the logarithms."""
        losses, _ = self.present(losses, tasks)
        return (losses + EPSILON).log().sum()
