"""Yes or no."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ._base import ClassHead, Readout


class Binary(ClassHead):
    """Predict yes or no, with binary cross-entropy on logits.

    Labels are 0 and 1 (or false and true); -100 and NaN mean that there is none.

    Args:
        layers: See `Head`.
        readout: See `Head`.
        dropout: See `Head`.

    Example:
        >>> import torch
        >>> head = Binary()
        >>> head.build(width=8)
        >>> head(torch.ones(5, 8)).shape
        torch.Size([5])
    """

    kind = "binary"
    classes = 2

    def __init__(self, *, layers: nn.Module | None = None, readout: Readout = "mean", dropout: float = 0.0) -> None:
        super().__init__(1, layers=layers, readout=readout, dropout=dropout)

    def loss(self, prediction: Float[Tensor, "batch"], target: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
        """Mean binary cross-entropy in nats."""
        return F.binary_cross_entropy_with_logits(prediction, target.to(prediction.dtype))

    def predict(self, prediction: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
        """Probability of a yes."""
        return prediction.sigmoid()
