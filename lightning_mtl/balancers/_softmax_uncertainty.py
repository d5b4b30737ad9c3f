"""Softmax uncertainty weighting: weights from the inverse losses."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from .._checks import require_number
from ._base import EPSILON, LossBalancer


class SoftmaxUncertainty(LossBalancer):
    """Weigh by a softmax of the inverse losses: w = softmax(1 / (T L)), without a gradient; S = sum of w[k] L[k].

    This is the optimum of `Uncertainty` in closed form, normalised by a softmax (UW-SO). Without a temperature, the inverse
    losses are divided by their sum (UW-O). Reference: Kirchdorfer et al., "Analytical uncertainty-based loss weighting in
    multi-task learning", GCPR 2024.

    Args:
        temperature: The higher it is, the more equal the weights are. Its best value depends on the scale of the losses, so
            search for it. None divides by the sum.

    Raises:
        ValueError: `temperature` is not above 0.

    Example:
        >>> import torch
        >>> losses = torch.tensor([0.5, 2.0], requires_grad=True)
        >>> SoftmaxUncertainty(temperature=None)(losses).backward()
        >>> losses.grad
        tensor([0.8000, 0.2000])
    """

    positive = True

    def __init__(self, temperature: float | None = 1.0) -> None:
        super().__init__()
        require_number("temperature", temperature, "None gives UW-O.", above=0, finite=False, optional=True)
        self.temperature = temperature

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Return the weighted sum of the losses."""
        losses, _ = self.present(losses, tasks)
        inverse = (losses.detach() + EPSILON).reciprocal()
        weights = inverse / inverse.sum() if self.temperature is None else (inverse / self.temperature).softmax(0)
        return weights @ losses
