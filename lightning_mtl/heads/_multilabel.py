"""Any number of labels at once."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ._base import ClassHead, Readout


class Multilabel(ClassHead):
    """Predict each of several labels, with binary cross-entropy on logits.

    A target is [batch, labels] of 0 and 1; a single label that is unknown is -100 or NaN, and an example whose labels
    are all unknown is left out. An example's loss is the mean over its known labels.

    Args:
        labels: Number of labels.
        layers: See `Head`.
        readout: See `Head`.
        dropout: See `Head`.

    Example:
        >>> import torch
        >>> head = Multilabel(4)
        >>> head.build(width=8)
        >>> head(torch.ones(5, 8)).shape
        torch.Size([5, 4])
    """

    kind = "multilabel"
    classes = 2

    def __init__(
        self, labels: int, *, layers: nn.Module | None = None, readout: Readout = "mean", dropout: float = 0.0
    ) -> None:
        super().__init__(labels, layers=layers, readout=readout, dropout=dropout)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one example's label."""
        return (self.outputs,)

    def loss(self, prediction: Float[Tensor, "batch labels"], target: Int[Tensor, "batch labels"]) -> Float[Tensor, ""]:
        """Mean over the examples of the mean binary cross-entropy, in nats, over an example's known labels."""
        known = (target >= 0).to(prediction.dtype)
        each = F.binary_cross_entropy_with_logits(
            prediction, target.to(prediction.dtype), weight=known, reduction="none"
        )
        return (each.sum(-1) / known.sum(-1)).mean()

    def predict(self, prediction: Float[Tensor, "batch labels"]) -> Float[Tensor, "batch labels"]:
        """Probability of each label."""
        return prediction.sigmoid()
