"""Yes or no."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ._class_head import ClassHead, Weights, positive
from ._names import Name
from ._readout import Readout
from ._threshold import at_least_float32, best_threshold, centered, exceeds, threshold_for_each


class Binary(ClassHead):
    """Predict yes or no, with binary cross-entropy on logits.

    Labels are 0 and 1 (or false and true); -100 and NaN mark a missing label. With weights, `focal` or `label_smoothing` the
    loss is still the mean over the rows: it is not divided by the sum of their weights.

    Args:
        names: Names of no and yes in answers, in this order. Default: 0 and 1.
        pos_weight: Weight of a yes in the loss, where a no weighs 1; "balanced" is the number of noes for each yes
            among the training labels.
        class_weight: Instead, the weights of no and yes; "balanced" is n / (2 * n of the class).
        focal: How strongly the loss of well-predicted rows is reduced: gamma of Lin et al. 2017, Focal loss for dense object
            detection, equation 4. 0 is plain cross-entropy.
        label_smoothing: Share s of a label that is spread over no and yes while training: a yes becomes 1 - s/2, a no s/2.
        threshold: The answer is yes above this probability, in (0, 1); see `tune`.
        layers: See `Head`.
        readout: See `Head`.
        dropout: See `Head`.

    Raises:
        ValueError: Both weights are given, one is not positive, `focal` is below 0, `label_smoothing` outside [0, 1), both
            of these are set, or `threshold` lies outside (0, 1).

    Example:
        >>> import torch
        >>> head = Binary(names=["ham", "spam"], threshold=0.8)
        >>> head.build(width=8)
        >>> head(torch.ones(5, 8)).shape
        torch.Size([5])
        >>> head.answers(torch.tensor([0.75]))
        [{'label': 'ham', 'probability': 0.25, 'probabilities': {'ham': 0.25, 'spam': 0.75}}]
    """

    kind = "binary"
    learns = ("names", "weights", "threshold")

    def __init__(
        self,
        *,
        names: list[Name] | None = None,
        pos_weight: float | Literal["balanced"] | None = None,
        class_weight: Weights = None,
        focal: float = 0.0,
        label_smoothing: float = 0.0,
        threshold: float = 0.5,
        layers: nn.Module | None = None,
        readout: Readout = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            1,
            classes=2,
            names=names,
            class_weight=class_weight,
            focal=focal,
            label_smoothing=label_smoothing,
            layers=layers,
            readout=readout,
            dropout=dropout,
        )
        if pos_weight is not None:
            self._set_pos_weight(pos_weight)
        self.pos_weight = pos_weight
        threshold_for_each(threshold, 1)
        self.threshold = threshold

    def loss(self, prediction: Float[Tensor, "batch"], target: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
        """Mean binary cross-entropy in nats."""
        if self._plain:
            return F.binary_cross_entropy_with_logits(prediction, target.to(prediction.dtype))
        return self._binary_terms(prediction, target).mean()

    def predict(self, prediction: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
        """Return the probability of a yes."""
        return prediction.sigmoid()

    def tune(self, probability: Float[Tensor, "n"], target: Int[Tensor, "n"]) -> None:
        """Set the threshold with the highest F1 on these examples; without any yes it stays as it was given.

        Args:
            probability: Probability of a yes for each, as `predict` returns it.
            target: 0 and 1; -100 is left out.
        """
        found = {key: value for key, value in self._learned.items() if key != "threshold"}
        best = best_threshold(probability.detach(), target)
        self.restore(found if best in (None, self.threshold) else {**found, "threshold": best})

    def judged(self, prediction: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
        """Stretch probabilities so that the threshold becomes one half, the threshold of metrics; their order stays."""
        threshold = self._threshold
        return (
            prediction
            if threshold == 0.5
            else centered(prediction, at_least_float32(prediction).new_full((), threshold))
        )

    def answers(self, prediction: Float[Tensor, "batch"], words: Tensor | None = None) -> list[dict[str, Any]]:
        """Turn probabilities of a yes into one answer for each row.

        Returns:
            {"label": name, "probability": of that label, "probabilities": {name: probability}}.
        """
        yes = at_least_float32(prediction.detach().cpu())
        chosen = exceeds(yes, torch.tensor(self._threshold, dtype=yes.dtype))
        return self._answers_of(torch.stack([1 - yes, yes], dim=1), chosen.long())

    @property
    def _name_count(self) -> int:
        return 2

    @property
    def _threshold(self) -> float:
        threshold: float = self._learned.get("threshold", self.threshold)
        return threshold

    def _set_pos_weight(self, pos_weight: float | Literal["balanced"]) -> None:
        if self.class_weight is not None:
            raise ValueError(
                f"`pos_weight` and `class_weight` must not both be given, got {pos_weight!r} and {self.class_weight!r}. "
                "They say the same; keep one."
            )
        yes = positive("pos_weight", pos_weight, 1)
        self._balanced = yes is None
        self._given_weights = None if yes is None else [1.0, *yes]
        self._refresh_buffers()

    def _balanced_weights(self, target: Tensor) -> list[float]:
        if self.class_weight is not None:
            return super()._balanced_weights(target)
        no, yes = ((target == number).sum().item() for number in (0, 1))
        if not no or not yes:
            raise ValueError(
                f"`pos_weight='balanced'` needs training examples of both, got none of {self.called[int(not yes)]!r}. "
                "Give the weight as a number."
            )
        return [1.0, no / yes]
