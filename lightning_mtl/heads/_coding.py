"""Labels as a batch holds them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Shaped
from torch import Tensor


class LabelCoding(ABC):
    """From labels of a column to those of a batch, and back; here both are the same."""

    @property
    def codes(self) -> bool:
        """Whether labels are coded before they are rounded and put into a batch (see `code`)."""
        return False

    @property
    def offset(self) -> Tensor | None:
        """What metrics may subtract from predictions and labels that are far from zero; None where they are not."""
        return None

    def code(self, target: Shaped[Tensor, "batch *labels"]) -> Shaped[Tensor, "batch *labels"]:
        """Turn labels into the form that a batch holds; it is called where data are loaded, on labels that are not rounded yet."""
        return target

    def decode(self, coded: Shaped[Tensor, "batch *labels"]) -> Shaped[Tensor, "batch *labels"]:
        """Turn the labels of a batch into the unit of predictions, for metrics."""
        return coded

    def scaled_labels(self, coded: Shaped[Tensor, "batch *labels"]) -> Shaped[Tensor, "batch *labels"]:
        """Turn the labels of a batch into the scale of the output of `forward`."""
        return self.scale_target(coded)

    def loss_of(
        self, prediction: Float[Tensor, "batch *outputs"], coded: Shaped[Tensor, "batch *labels"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the examples given, by the labels of a batch."""
        return self.loss(prediction, coded)

    # What a head has

    @abstractmethod
    def scale_target(self, target: Shaped[Tensor, "batch *labels"]) -> Shaped[Tensor, "batch *labels"]:
        """Turn a target into the scale of the output of `forward`."""

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "batch *outputs"], target: Shaped[Tensor, "batch *labels"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the examples given."""
