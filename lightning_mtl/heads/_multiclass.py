"""One class out of several."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from .._checks import require_number
from ._class_head import ClassHead, Weights
from ._names import Name
from ._readout import Readout


class Multiclass(ClassHead):
    """Predict one class out of several, with cross-entropy.

    With weights the loss is the mean over the rows of weight times loss. Unlike in `torch.nn.CrossEntropyLoss` it is not divided
    by the sum of the weights, so that the losses of several processes add up to the loss of all rows.

    Args:
        classes: Number of classes; labels run from 0 to `classes` - 1, and -100 marks a missing label.
        names: Names of the classes in answers. Default: their numbers.
        class_weight: Weight of each class in the loss; "balanced" is n / (classes * n of the class).
        focal: How strongly the loss of well-predicted rows is reduced: gamma of Lin et al. 2017, Focal loss for dense object
            detection, equation 4. 0 is plain cross-entropy.
        label_smoothing: Share of a label that is spread evenly over all classes while training, in [0, 1). A row's weight is
            that of its label.
        layers: See `Head`.
        readout: See `Head`.
        dropout: See `Head`.

    Raises:
        ValueError: There are fewer than two classes, names or weights are not one for each, `focal` is below 0,
            `label_smoothing` lies outside [0, 1), or both of these are set.

    Example:
        >>> import torch
        >>> head = Multiclass(3, names=["red", "green", "blue"])
        >>> head.build(width=8)
        >>> logits = head(torch.ones(2, 8))
        >>> logits.shape, head.predict(logits).sum(-1).round().tolist()
        (torch.Size([2, 3]), [1.0, 1.0])
        >>> head.answers(torch.tensor([[0.25, 0.5, 0.25]]))[0]["label"]
        'green'
    """

    kind = "multiclass"

    def __init__(
        self,
        classes: int,
        *,
        names: list[Name] | None = None,
        class_weight: Weights = None,
        focal: float = 0.0,
        label_smoothing: float = 0.0,
        layers: nn.Module | None = None,
        readout: Readout = "mean",
        dropout: float = 0.0,
    ) -> None:
        require_number("classes", classes, "For yes or no, use `Binary`.", at_least=2, whole=True)
        super().__init__(
            classes,
            classes=classes,
            names=names,
            class_weight=class_weight,
            focal=focal,
            label_smoothing=label_smoothing,
            layers=layers,
            readout=readout,
            dropout=dropout,
        )

    def loss(self, prediction: Float[Tensor, "batch classes"], target: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats."""
        return self._cross_entropy(prediction, target)

    def predict(self, prediction: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Return the probability of each class."""
        return prediction.softmax(-1)

    def answers(self, prediction: Float[Tensor, "batch classes"], words: Tensor | None = None) -> list[dict[str, Any]]:
        """Turn probabilities into one answer for each row.

        Returns:
            {"label": name, "probability": of that label, "probabilities": {name: probability}}.
        """
        probabilities = prediction.detach().cpu()
        return self._answers_of(probabilities, probabilities.argmax(-1))
