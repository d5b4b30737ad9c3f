"""F1 averaged over classes, in memory that grows with their number and not with its square."""

from __future__ import annotations

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torchmetrics.classification import MulticlassF1Score

from .._checks import require_number


class MacroF1(MulticlassF1Score):
    """The mean of the F1 scores of the classes that occur in labels or predictions.

    It is torchmetrics' `MulticlassF1Score(num_classes, average="macro")`, which makes a confusion matrix of each batch: 3 GB for 20,000 classes.

    Args:
        num_classes: How many classes there are.

    Example:
        >>> metric = MacroF1(3)
        >>> metric(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
        tensor(0.6667)
    """

    def __init__(self, num_classes: int) -> None:
        require_number("num_classes", num_classes, "Give the number of classes.", at_least=2, whole=True)
        super().__init__(num_classes, average="macro", validate_args=False)
        self.classes = num_classes

    def update(self, preds: Shaped[Tensor, "examples *classes"], target: Int[Tensor, "examples"]) -> None:
        """Update with the examples of a batch.

        Args:
            preds: [examples, classes] probabilities, or [examples] numbers of classes.
            target: The right classes.
        """
        found = preds.argmax(1) if preds.ndim == 2 else preds.long()
        tp, predicted, true = (self._count(of) for of in (target[found == target], found, target))
        self._update_state(tp, predicted - tp, len(target) - predicted - true + tp, true - tp)

    def _count(self, classes: Tensor) -> Tensor:
        counts = torch.zeros(self.classes, dtype=torch.long, device=classes.device)
        return counts.index_add_(0, classes, torch.ones_like(classes))
