"""Weights from the inverse losses."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from .._checks import require
from ._base import EPSILON, LossBalancer


class SoftmaxUncertainty(LossBalancer):
    """Weigh by a softmax of the inverse losses: w = softmax(1 / (T L)), constant to the gradient; S = sum of w[k] L[k].

    The optimum of `Uncertainty` in closed form, with a softmax in place of the sum (UW-SO); without a temperature, the
    weights are the inverse losses divided by their sum (UW-O). Reference: Kirchdorfer et al., "Analytical uncertainty-based
    loss weighting in multi-task learning", GCPR 2024.

    Args:
        temperature: The higher, the more alike are the weights. It goes with the scale of the losses, so it is worth a
            search. None divides by the sum.

    Raises:
        ValueError: The temperature is not above 0.

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
        require(temperature is None or temperature > 0, "temperature", "above 0", temperature, "None gives UW-O.")
        self.temperature = temperature

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Add up the losses times the weights."""
        losses, _ = self.present(losses, tasks)
        inverse = (losses.detach() + EPSILON).reciprocal()
        weights = inverse / inverse.sum() if self.temperature is None else (inverse / self.temperature).softmax(0)
        return weights @ losses
