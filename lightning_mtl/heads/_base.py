"""What every head has: a readout of the features, its own layers, and what it knows of its labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

Readout = Literal["mean", "first"]


class Head(nn.Module, ABC):
    """A task's own layers: from shared features to this task's prediction.

    A subclass says what its labels are (`kind`, `dtype`, `labelled`, `valid`), how wrong a prediction is (`loss`), and
    what a user reads off it (`predict`). The layers are made by `build`, when the width of the features is known.

    Args:
        outputs: Numbers that the head predicts for each example.
        layers: The head's own layers, from [batch, width] to [batch, outputs]. Default: one linear layer.
        readout: How features with positions, [batch, length, width], become one vector: the mean over the positions
            that the mask keeps, or the first position. Features of shape [batch, width] are taken as they are.
        dropout: Share of the features that is dropped while training, in [0, 1).

    Raises:
        ValueError: `outputs` is below one, `readout` is unknown, or `dropout` lies outside [0, 1).
    """

    kind: ClassVar[str]
    """The prediction's name in torchmetrics: "binary", "multiclass", "multilabel" or "regression"."""
    dtype: ClassVar[torch.dtype]
    """What a target column is converted to."""

    def __init__(
        self, outputs: int, *, layers: nn.Module | None = None, readout: Readout = "mean", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if outputs < 1:
            raise ValueError(f"`outputs` must be at least 1, got {outputs}.")
        if readout not in ("mean", "first"):
            raise ValueError(f"`readout` must be 'mean' or 'first', got {readout!r}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must lie in [0, 1), got {dropout}.")
        self.outputs = outputs
        self.readout = readout
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.layers = layers

    def build(self, width: int) -> None:
        """Make the layers for features of this width, unless they were given."""
        if self.layers is None:
            self.layers = nn.Linear(width, self.outputs)

    def forward(
        self, features: Float[Tensor, "batch *positions width"], mask: Shaped[Tensor, "batch positions"] | None = None
    ) -> Float[Tensor, "batch *outputs"]:
        """Predict, in the scale of the loss (logits for classes).

        Args:
            features: [batch, width], or [batch, length, width] with positions.
            mask: [batch, length], true (or 1) at the positions that count. Default: all of them.

        Returns:
            [batch, outputs], or [batch] where each example has a single number.
        """
        assert self.layers is not None, "`build` comes before `forward`"
        if features.ndim > 2:
            features = self._read(features, mask)
        if self.dropout is not None:
            features = self.dropout(features)
        prediction: Tensor = self.layers(features)
        return prediction.squeeze(-1) if self.outputs == 1 and not self.label_shape else prediction

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one example's label."""
        return ()

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "batch *outputs"], target: Shaped[Tensor, "batch *labels"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the examples given."""

    @abstractmethod
    def predict(self, prediction: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Turn the output of `forward` into what a user reads: probabilities, or values."""

    @abstractmethod
    def complete(self, target: Shaped[Tensor, "batch *labels"]) -> bool:
        """Say quickly whether every label is there and in range."""

    @abstractmethod
    def labelled(self, target: Shaped[Tensor, "batch *labels"]) -> Bool[Tensor, "batch *labels"]:
        """Which labels are there."""

    @abstractmethod
    def valid(self, target: Shaped[Tensor, "batch *labels"]) -> Bool[Tensor, "batch *labels"]:
        """Which labels, of those that are there, are in range."""

    @property
    @abstractmethod
    def label_rule(self) -> str:
        """What a label must be, for error messages."""

    def _read(self, features: Tensor, mask: Tensor | None) -> Tensor:
        if self.readout == "first":
            return features[:, 0]
        if mask is None:
            return features.mean(1)
        kept = mask.unsqueeze(-1).to(features.dtype)
        return (features * kept).sum(1) / kept.sum(1).clamp(min=1)


class ClassHead(Head):
    """A head whose labels are class numbers; -100 and NaN mean that there is none."""

    dtype = torch.long
    classes: int

    def complete(self, target: Shaped[Tensor, "batch *labels"]) -> bool:
        """Say quickly whether every label is there and in range."""
        low, high = target.aminmax()
        return low.item() >= 0 and high.item() < self.classes

    def labelled(self, target: Shaped[Tensor, "batch *labels"]) -> Bool[Tensor, "batch *labels"]:
        """Which labels are there."""
        return target != -100

    def valid(self, target: Shaped[Tensor, "batch *labels"]) -> Bool[Tensor, "batch *labels"]:
        """Which labels, of those that are there, are in range."""
        return (target >= 0) & (target < self.classes)

    @property
    def label_rule(self) -> str:
        """What a label must be, for error messages."""
        return f"a whole number from 0 to {self.classes - 1}, or -100 for none"
