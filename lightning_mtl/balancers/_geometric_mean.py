"""The geometric mean of the losses."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ._base import EPSILON, LossBalancer


class GeometricMean(LossBalancer):
    """Take the geometric mean of the losses: S = (product of L[k]) ^ (1 / K), so that no scale dominates.

    Each task has weight S / (K L[k]). It is computed as exp(mean of logarithms), because the product can overflow.
    Reference: Chennupati et al., "MultiNet++", CVPR Workshops 2019.

    Example:
        >>> import torch
        >>> GeometricMean()(torch.tensor([1.0, 4.0]))
        tensor(2.)
    """

    positive = True

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Return the geometric mean of the losses."""
        losses, _ = self.present(losses, tasks)
        return (losses + EPSILON).log().mean().exp()
