"""One or several real numbers."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ._base import Head
from ._names import Name
from ._readout import Readout


class Regression(Head):
    """Predict one or several real numbers, with the mean squared error.

    NaN marks a missing label. With several outputs an example has all of them or none; make each output a task of its own where
    single ones are missing.

    Args:
        outputs: Numbers to predict for each example.
        names: Names of several outputs in answers. Default: none, they are a list.
        scaled: Learn each output's mean and standard deviation from the training labels (see `fit`), and let the layers
            and the loss work on (target - mean) / deviation; predictions are in the unit of the target. So tasks in
            different units have the same weight, and a prediction near zero is one near the mean.
        layers: See `Head`.
        readout: See `Head`.
        dropout: See `Head`.

    Raises:
        ValueError: See `Head`.

    Example:
        >>> import torch
        >>> head = Regression(scaled=True)
        >>> head.build(width=8)
        >>> head(torch.ones(5, 8)).shape
        torch.Size([5])
        >>> head.fit(torch.tensor([90.0, 110.0]))
        >>> head.predict(torch.tensor([0.0, 2.0]))
        tensor([100., 120.])
    """

    kind = "regression"
    dtype = torch.float32
    learns = ("names", "mean", "scale")
    mean: Tensor | None
    scale: Tensor | None

    def __init__(
        self,
        outputs: int = 1,
        *,
        names: list[Name] | None = None,
        scaled: bool = False,
        layers: nn.Module | None = None,
        readout: Readout = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(outputs, names=names, layers=layers, readout=readout, dropout=dropout)
        self.scaled = scaled
        self._refresh_buffers()

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one example's label."""
        return () if self.outputs == 1 else (self.outputs,)

    def fit(self, target: Float[Tensor, "n *outputs"]) -> None:
        """Learn the mean and the standard deviation of each output, if the head is `scaled`.

        Args:
            target: The labels of all training examples, [n] or [n, outputs].

        Raises:
            ValueError: All labels of an output are equal.
        """
        found = {key: value for key, value in self._learned.items() if key == "names"}
        if self.scaled:
            values = target.detach().double().reshape(-1, self.outputs)
            self._refuse_constant(values)
            found |= {"mean": values.mean(0).tolist(), "scale": values.std(0, correction=0).tolist()}
        self.restore(found)

    def loss(
        self, prediction: Float[Tensor, "batch *outputs"], target: Float[Tensor, "batch *outputs"]
    ) -> Float[Tensor, ""]:
        """Mean squared error, in the square of the target's unit, or of its standard deviation if `scaled`.

        Raises:
            ValueError: The target is of another shape.
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f"`target` must be of the shape of the prediction, {list(prediction.shape)}, got {list(target.shape)}. Reshape it."
            )
        dtype = torch.promote_types(prediction.dtype, target.dtype)  # bfloat16 would round the target
        error = prediction.to(dtype) - self.scale_target(target).to(dtype)
        return (error * error).mean()  # `F.mse_loss` has no batch rule for its gradient, and is slow under `vmap`

    def predict(self, prediction: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Return the values in the unit of the target."""
        if not self.scaled:
            return prediction
        mean, scale = self._scaling()
        return prediction * scale + mean

    def scale_target(self, target: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Turn a target into the scale of the output of `forward`: standard deviations from the mean if `scaled`."""
        if not self.scaled:
            return target
        mean, scale = self._scaling()
        return (target - mean) / scale

    def complete(self, target: Float[Tensor, "batch *outputs"]) -> bool:
        """Return whether every label is there and finite; this check is quick."""
        low, high = target.aminmax()
        return math.isfinite(low.item()) and math.isfinite(high.item())

    def labelled(self, target: Float[Tensor, "batch *outputs"]) -> Bool[Tensor, "batch *outputs"]:
        """Return which labels are there."""
        missing = target.isnan()
        if missing.ndim == 2:  # an example lacks all outputs, or it is an error that `valid` finds
            missing = missing.all(-1, keepdim=True).expand_as(missing)
        return ~missing

    def valid(self, target: Float[Tensor, "batch *outputs"]) -> Bool[Tensor, "batch *outputs"]:
        """Return which labels, of those that are there, are finite."""
        return target.isfinite()

    @property
    def label_rule(self) -> str:
        """What a label must be, for error messages."""
        several = " in all outputs of a row or in none (else make each output a task)" if self.outputs > 1 else ""
        return f"a finite number, or NaN for none{several}"

    def _refresh_buffers(self) -> None:
        self._set_buffer("mean", self._learned.get("mean"))
        self._set_buffer("scale", self._learned.get("scale"))

    def _scaling(self) -> tuple[Tensor, Tensor]:
        if self.mean is None or self.scale is None:
            raise ValueError(
                "The scale of `Regression(scaled=True)` must be learned before its loss and predictions, got none. Train "
                "with `MultiTaskDataModule`, or call `fit` of the head with all training labels first."
            )
        return self.mean, self.scale

    def _refuse_constant(self, values: Tensor) -> None:
        for name, low, high in zip(self.called, values.amin(0).tolist(), values.amax(0).tolist(), strict=True):
            if low == high:
                raise ValueError(
                    f"`scaled=True` needs training labels that differ, got {low} everywhere in output {name!r}. Leave "
                    "the output out: there is nothing to learn."
                )
