"""The geometric mean of the losses."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ._base import EPSILON, LossBalancer


class GeometricMean(LossBalancer):
    """Take the geometric mean of the losses: S = (product of L[k]) ^ (1 / K), so that no scale dominates.

    Each task has weight S / (K L[k]). Computed as exp(mean of logarithms), since the product leaves the range of floats.
    Reference: Chennupati et al., "MultiNet++", CVPR Workshops 2019.

    Example:
        >>> import torch
        >>> GeometricMean()(torch.tensor([1.0, 4.0]))
        tensor(2.)
    """

    positive = True

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Take the geometric mean."""
        losses, _ = self.present(losses, tasks)
        return (losses + EPSILON).log().mean().exp()
