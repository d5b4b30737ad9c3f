"""What heads for classes have in common: class weights, and the losses that use them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from .._checks import require_number
from ._base import Head
from ._for_each import for_each
from ._names import Name
from ._readout import Readout

Weights = Sequence[float] | Literal["balanced"] | None


class ClassHead(Head):
    """A head whose labels are class numbers; -100 and NaN mark a missing label.

    The loss is the mean over the rows of w * (1 - p)^`focal` * (-log p), where p is the predicted probability of a row's
    class, and w the weight of that class. It is divided by the number of rows, not by the sum of their weights as
    `torch.nn.CrossEntropyLoss` does: so the losses of several processes, averaged by their rows, are the loss of all rows.

    Args:
        outputs: See `Head`.
        classes: Number of classes.
        names: See `Head`.
        class_weight: Weight of each class in the loss, or "balanced": n / (classes * n of the class), learned by
            `fit`, as in scikit-learn (King and Zeng 2001, Logistic regression in rare events data, section 4.2).
        focal: How strongly the loss of well-predicted rows is reduced; 0 is plain cross-entropy. It is the gamma of Lin et al.
            2017, Focal loss for dense object detection, equation 4 (with weights, equation 5).
        label_smoothing: Share of a label that is spread evenly over all classes, in [0, 1) (Szegedy et al. 2016,
            Rethinking the Inception architecture, section 7). A row's weight is that of its label. Like dropout it acts only
            in training: in evaluation (`eval()`) labels are not smoothed.
        layers: See `Head`.
        readout: See `Head`.
        dropout: See `Head`.

    Raises:
        ValueError: Weights that are not one positive number for each class, `focal` below 0, `label_smoothing` outside
            [0, 1), both of them, or what `Head` rejects.
    """

    dtype = torch.long
    learns: ClassVar[tuple[str, ...]] = ("names", "weights")
    smooths = True
    classes: int
    weighing: Tensor | None

    def __init__(
        self,
        outputs: int,
        *,
        classes: int,
        names: list[Name] | None = None,
        class_weight: Weights = None,
        focal: float = 0.0,
        label_smoothing: float = 0.0,
        layers: nn.Module | None = None,
        readout: Readout = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(outputs, names=names, layers=layers, readout=readout, dropout=dropout)
        _check_loss(focal, label_smoothing)
        self.classes = classes
        self.class_weight = class_weight
        self.focal = focal
        self.label_smoothing = label_smoothing
        self._balanced = isinstance(class_weight, str)
        self._given_weights: list[float] | None = None
        if class_weight is not None:
            self._given_weights = positive("class_weight", class_weight, classes)
        self._refresh_buffers()

    def set_label_smoothing(self, label_smoothing: float) -> None:
        """Set the share of a label that is spread over all classes while training, in [0, 1)."""
        _check_loss(self.focal, label_smoothing)
        self.label_smoothing = label_smoothing
        self._refresh_buffers()

    @property
    def weights(self) -> list[float] | None:
        """Weight of each class in the loss, given or learned; None where all weigh the same, or before `fit`."""
        found: list[float] | None = self._learned.get("weights", self._given_weights)
        return found

    def fit(self, target: Tensor) -> None:
        """Learn the weights of the classes where they are "balanced", and forget what was tuned.

        Args:
            target: The labels of all training examples, [n].

        Raises:
            ValueError: A class has no example.
        """
        found = {key: value for key, value in self._learned.items() if key == "names"}
        self.restore({**found, "weights": self._balanced_weights(target)} if self._balanced else found)

    def complete(self, target: Shaped[Tensor, "batch *labels"]) -> bool:
        """Return whether every label is there and in range; this check is quick."""
        low, high = target.aminmax()
        return low.item() >= 0 and high.item() < self.classes

    def labelled(self, target: Shaped[Tensor, "batch *labels"]) -> Bool[Tensor, "batch *labels"]:
        """Return which labels are there."""
        return target != -100

    def valid(self, target: Shaped[Tensor, "batch *labels"]) -> Bool[Tensor, "batch *labels"]:
        """Return which labels, of those that are there, are in range."""
        return (target >= 0) & (target < self.classes)

    @property
    def label_rule(self) -> str:
        """What a label must be, for error messages."""
        return f"a whole number from 0 to {self.classes - 1}, or -100 for none"

    # For subclasses

    def _balanced_weights(self, target: Tensor) -> list[float]:
        counts = torch.bincount(target[target >= 0], minlength=self.classes).tolist()
        if 0 in counts:
            raise ValueError(
                f"`class_weight='balanced'` needs a training example of each class, got none of class "
                f"{self.called[counts.index(0)]!r}. Give the weights as numbers, or leave the class out."
            )
        return [sum(counts) / (self.classes * count) for count in counts]

    def _refresh_buffers(self) -> None:
        weights = self.weights
        self._set_buffer("weighing", weights)
        self._plain = weights is None and not (self._balanced or self.focal or self.label_smoothing)

    @property
    def _smoothing(self) -> float:
        return self.label_smoothing if self.training else 0.0

    def _cross_entropy(self, prediction: Tensor, target: Tensor) -> Tensor:
        if self._plain:
            return F.cross_entropy(prediction, target)
        each = F.cross_entropy(prediction, target, reduction="none", label_smoothing=self._smoothing)
        return self._weighted(each, target).mean()

    def _binary_terms(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss of every yes or no; at a missing label the number means nothing."""
        smooth = self._smoothing
        likely = target.clamp(min=0).to(prediction.dtype) * (1 - smooth) + smooth / 2
        return self._weighted(F.binary_cross_entropy_with_logits(prediction, likely, reduction="none"), target)

    def _weighted(self, each: Tensor, target: Tensor) -> Tensor:
        if self.focal:  # each is -log p; the clamp keeps the gradient of a power below 1 finite where p is 1
            each = (-torch.expm1(-each)).clamp(min=torch.finfo(each.dtype).tiny) ** self.focal * each
        if self.weighing is not None:
            return each * self._weight_of(target, self.weighing)
        if self._balanced:
            raise ValueError(
                f"Balanced weights of {type(self).__name__} must be learned before its loss, got none. Train with "
                "`MultiTaskDataModule`, or call `fit` of the head with all training labels first."
            )
        return each

    def _weight_of(self, target: Tensor, weighing: Tensor) -> Tensor:
        return weighing[target]

    def _answers_of(self, probabilities: Tensor, chosen: Tensor) -> list[dict[str, Any]]:
        names, picked = self.called, probabilities.gather(1, chosen.unsqueeze(1)).squeeze(1)
        return [
            {"label": names[c], "probability": p, "probabilities": dict(zip(names, row, strict=True))}
            for c, p, row in zip(chosen.tolist(), picked.tolist(), probabilities.tolist(), strict=True)
        ]


def positive(parameter: str, given: float | Iterable[float] | str, count: int) -> list[float] | None:
    """Check weights: one positive number for each class or label.

    Args:
        parameter: Name of the user's argument.
        given: "balanced", one number for all, or one for each.
        count: How many there must be.

    Returns:
        One number for each; None for "balanced".

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(given, str) and given == "balanced":
        return None
    weights = for_each(given, count)
    if len(weights) == count and all(0 < w < math.inf for w in weights):
        return weights
    raise ValueError(
        f"`{parameter}` must be positive, {count} in number, or 'balanced', got {given!r}. Leave it out to count all the same."
    )


def _check_loss(focal: float, label_smoothing: float) -> None:
    require_number("focal", focal, "Lin et al. use 2; 0 is plain cross-entropy.", at_least=0)
    require_number("label_smoothing", label_smoothing, "Usual is 0.1.", at_least=0, below=1)
    if focal and label_smoothing:
        raise ValueError(
            f"`focal` and `label_smoothing` must not both be set, got {focal} and {label_smoothing}. They work against each other: "
            "one lowers the loss of sure predictions, the other raises it. Choose one."
        )
