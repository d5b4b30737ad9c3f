"""One class out of several."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ._base import ClassHead, Readout


class Multiclass(ClassHead):
    """Predict one class out of several, with cross-entropy.

    Args:
        classes: Number of classes; labels run from 0 to `classes` - 1, and -100 means that there is none.
        layers: See `Head`.
        readout: See `Head`.
        dropout: See `Head`.

    Raises:
        ValueError: There are fewer than two classes.

    Example:
        >>> import torch
        >>> head = Multiclass(3)
        >>> head.build(width=8)
        >>> logits = head(torch.ones(2, 8))
        >>> logits.shape, head.predict(logits).sum(-1).round().tolist()
        (torch.Size([2, 3]), [1.0, 1.0])
    """

    kind = "multiclass"

    def __init__(
        self, classes: int, *, layers: nn.Module | None = None, readout: Readout = "mean", dropout: float = 0.0
    ) -> None:
        if classes < 2:
            raise ValueError(f"`classes` must be at least 2, got {classes}. For yes or no, use `Binary`.")
        super().__init__(classes, layers=layers, readout=readout, dropout=dropout)
        self.classes = classes

    def loss(self, prediction: Float[Tensor, "batch classes"], target: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats."""
        return F.cross_entropy(prediction, target)

    def predict(self, prediction: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Probability of each class."""
        return prediction.softmax(-1)
