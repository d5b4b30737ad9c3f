"""Any number of labels at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from .._checks import require_number
from ._class_head import ClassHead, positive
from ._names import Name
from ._readout import Readout
from ._threshold import at_least_float32, best_threshold, centered, exceeds, threshold_for_each


class Multilabel(ClassHead):
    """Predict each of several labels, with binary cross-entropy on logits.

    A target is [batch, labels] of 0 and 1. A single missing label is -100 or NaN; an example without any label is left out.
    The loss of an example is the mean over its labels that are not missing (of weight times loss, not divided by the sum of the
    weights), and the loss is the mean over the examples.

    Args:
        labels: Number of labels.
        names: Names of the labels in answers. Default: their numbers.
        pos_weight: Weight of a yes in the loss, where a no weighs 1: a number for all labels or one for each;
            "balanced" is the number of noes for each yes of a label among the training labels.
        focal: How strongly the loss of well-predicted labels is reduced: gamma of Lin et al. 2017, Focal loss for dense object
            detection, equation 4. 0 is plain cross-entropy.
        label_smoothing: Share s of a label that is spread over no and yes while training: a yes becomes 1 - s/2, a no s/2.
        threshold: A label applies above this probability, in (0, 1): a number for all or one for each; see `tune`.
        layers: See `Head`.
        readout: See `Head`.
        dropout: See `Head`.

    Raises:
        ValueError: Names, weights or thresholds are not one for each label, a weight is not positive, `focal` is below 0,
            `label_smoothing` lies outside [0, 1), both of these are set, or a threshold lies outside (0, 1).

    Example:
        >>> import torch
        >>> head = Multilabel(2, names=["loud", "fast"])
        >>> head.build(width=8)
        >>> head(torch.ones(5, 8)).shape
        torch.Size([5, 2])
        >>> head.answers(torch.tensor([[0.25, 0.75]]))
        [{'labels': ['fast'], 'probabilities': {'loud': 0.25, 'fast': 0.75}}]
    """

    kind = "multilabel"
    learns = ("names", "weights", "threshold")
    cuts: Tensor | None

    def __init__(
        self,
        labels: int,
        *,
        names: list[Name] | None = None,
        pos_weight: Sequence[float] | float | Literal["balanced"] | None = None,
        focal: float = 0.0,
        label_smoothing: float = 0.0,
        threshold: float | Sequence[float] = 0.5,
        layers: nn.Module | None = None,
        readout: Readout = "mean",
        dropout: float = 0.0,
    ) -> None:
        require_number("labels", labels, "Give the number of labels.", at_least=1, whole=True)
        self._given_thresholds = threshold_for_each(threshold, labels)  # first, since `_refresh_buffers` reads it
        super().__init__(
            labels,
            classes=2,
            names=names,
            focal=focal,
            label_smoothing=label_smoothing,
            layers=layers,
            readout=readout,
            dropout=dropout,
        )
        self.labels = labels
        self.pos_weight = pos_weight
        self.threshold = threshold
        if pos_weight is not None:
            self._given_weights = positive("pos_weight", pos_weight, labels)
            self._balanced = self._given_weights is None
            self._refresh_buffers()

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one example's label."""
        return (self.outputs,)

    def loss(self, prediction: Float[Tensor, "batch labels"], target: Int[Tensor, "batch labels"]) -> Float[Tensor, ""]:
        """Mean over the examples of the mean binary cross-entropy, in nats, over the labels of an example that are not missing."""
        known = (target >= 0).to(prediction.dtype)
        if self._plain:
            each = F.binary_cross_entropy_with_logits(
                prediction, target.to(prediction.dtype), weight=known, reduction="none"
            )
        else:
            each = self._binary_terms(prediction, target) * known
        return (each.sum(-1) / known.sum(-1)).mean()

    def predict(self, prediction: Float[Tensor, "batch labels"]) -> Float[Tensor, "batch labels"]:
        """Return the probability of each label."""
        return prediction.sigmoid()

    def tune(self, probability: Float[Tensor, "n labels"], target: Int[Tensor, "n labels"]) -> None:
        """Set for each label the threshold with its highest F1 on these examples.

        This makes the macro average of F1 as high as it can be. A label that no example has keeps the threshold that was given.

        Args:
            probability: Probability of each label, as `predict` returns it.
            target: 0 and 1; single labels that are -100 are left out.
        """
        found = {key: value for key, value in self._learned.items() if key != "threshold"}
        best = [best_threshold(p, y) for p, y in zip(probability.detach().T, target.T, strict=True)]
        cuts = [given if cut is None else cut for cut, given in zip(best, self._given_thresholds, strict=True)]
        self.restore(found if cuts == self._given_thresholds else {**found, "threshold": cuts})

    def judged(self, prediction: Float[Tensor, "batch labels"]) -> Float[Tensor, "batch labels"]:
        """Stretch probabilities so that each threshold becomes one half, the threshold of metrics; their order stays."""
        return prediction if self.cuts is None else centered(prediction, self.cuts)

    def answers(self, prediction: Float[Tensor, "batch labels"], words: Tensor | None = None) -> list[dict[str, Any]]:
        """Turn probabilities into one answer for each row.

        Returns:
            {"labels": [names above their threshold], "probabilities": {name: probability}}.
        """
        names, probabilities = self.called, at_least_float32(prediction.detach().cpu())
        there = exceeds(probabilities, torch.tensor(self._thresholds, dtype=probabilities.dtype))
        return [
            {"labels": list(compress(names, yes)), "probabilities": dict(zip(names, row, strict=True))}
            for yes, row in zip(there.tolist(), probabilities.tolist(), strict=True)
        ]

    @property
    def _thresholds(self) -> list[float]:
        cuts: list[float] = self._learned.get("threshold", self._given_thresholds)
        return cuts

    def _refresh_buffers(self) -> None:
        super()._refresh_buffers()
        cuts = self._thresholds
        self._set_buffer("cuts", None if set(cuts) == {0.5} else cuts)

    def _weight_of(self, target: Tensor, weighing: Tensor) -> Tensor:
        return torch.where(target == 1, weighing, 1.0)

    def _balanced_weights(self, target: Tensor) -> list[float]:
        no, yes = ((target == number).sum(0).tolist() for number in (0, 1))
        for name, *counts in zip(self.called, no, yes, strict=True):
            if 0 in counts:
                raise ValueError(
                    f"`pos_weight='balanced'` needs training examples with and without each label, got {counts[1]} with "
                    f"and {counts[0]} without label {name!r}. Give the weights as numbers, or leave the label out."
                )
        return [n / y for n, y in zip(no, yes, strict=True)]
