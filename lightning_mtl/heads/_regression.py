"""One or several real numbers."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ._base import Head, Readout


class Regression(Head):
    """Predict one or several real numbers, with the mean squared error.

    NaN means that there is no label. With several outputs an example has all of them or none; outcomes that are
    missing one by one are a task each.

    Args:
        outputs: Numbers to predict for each example.
        layers: See `Head`.
        readout: See `Head`.
        dropout: See `Head`.

    Example:
        >>> import torch
        >>> head = Regression()
        >>> head.build(width=8)
        >>> head(torch.ones(5, 8)).shape
        torch.Size([5])
    """

    kind = "regression"
    dtype = torch.float32

    def __init__(
        self, outputs: int = 1, *, layers: nn.Module | None = None, readout: Readout = "mean", dropout: float = 0.0
    ) -> None:
        super().__init__(outputs, layers=layers, readout=readout, dropout=dropout)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one example's label."""
        return () if self.outputs == 1 else (self.outputs,)

    def loss(
        self, prediction: Float[Tensor, "batch *outputs"], target: Float[Tensor, "batch *outputs"]
    ) -> Float[Tensor, ""]:
        """Mean squared error, in the square of the target's unit."""
        dtype = torch.promote_types(prediction.dtype, target.dtype)  # bfloat16 would round the target
        return F.mse_loss(prediction.to(dtype), target.to(dtype))

    def predict(self, prediction: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """The values themselves."""
        return prediction

    def complete(self, target: Float[Tensor, "batch *outputs"]) -> bool:
        """Say quickly whether every label is there and finite."""
        low, high = target.aminmax()
        return math.isfinite(low.item()) and math.isfinite(high.item())

    def labelled(self, target: Float[Tensor, "batch *outputs"]) -> Bool[Tensor, "batch *outputs"]:
        """Which labels are there."""
        missing = target.isnan()
        if missing.ndim == 2:  # all of an example's outputs are missing, or it is an error that `valid` finds
            missing = missing.all(-1, keepdim=True).expand_as(missing)
        return ~missing

    def valid(self, target: Float[Tensor, "batch *outputs"]) -> Bool[Tensor, "batch *outputs"]:
        """Which labels, of those that are there, are finite."""
        return target.isfinite()

    @property
    def label_rule(self) -> str:
        """What a label must be, for error messages."""
        several = " in all outputs of a row or in none (else make each output a task)" if self.outputs > 1 else ""
        return f"a finite number, or NaN for none{several}"
