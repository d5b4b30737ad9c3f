"""One or several real numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .._distributed import sum_dtype
from ._base import Head
from ._names import Name
from ._readout import Readout

_FAR = 1000
"""Labels are far from zero if their mean is more than so many standard deviations: float32 would round predictions to 1e-4 of one."""
_STEPS = 100
"""Rounding spoils labels if it leaves fewer steps in a standard deviation."""
_WHOLE = 2**53
"""From here on float64 does not hold every whole number."""


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
            ValueError: All labels of an output are equal, or so far from zero beside their spread that rounding spoils them.
        """
        found = {key: value for key, value in self._learned.items() if key == "names"}
        values = target.detach().double().reshape(-1, self.outputs)
        self._refuse_rounding(values)
        if self.scaled:
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
        _refuse_other_shape(prediction, target)
        return _squared_error(prediction, self.scale_target(target), target.dtype)

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
        scaled = (target - mean) / scale
        return scaled.to(self._working_type) if self._far else scaled

    @property
    def codes(self) -> bool:
        """Whether labels are scaled before they are rounded and put into a batch."""
        return self.scaled and type(self).scale_target is Regression.scale_target

    @property
    def offset(self) -> Tensor | None:
        """The mean, where labels are so far from zero that metrics should subtract it; else None."""
        return self.mean if self._far else None

    def code(self, target: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Turn labels into standard deviations from the mean, in float64, if `scaled`; before `fit` they stay as they are."""
        if not self._is_coded:
            return target
        mean, scale = (torch.tensor(self._learned[key], dtype=torch.float64) for key in ("mean", "scale"))
        shape = self.label_shape
        return (target.double() - mean.to(target.device).reshape(shape)) / scale.to(target.device).reshape(shape)

    def decode(self, coded: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Turn the labels of a batch into the unit of predictions, in float64 where the device has it."""
        if not self._is_coded:
            return coded
        mean, scale = self._scaling()
        return coded.to(sum_dtype(coded.device)) * scale + mean

    def scaled_labels(self, coded: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Turn the labels of a batch into the scale of the output of `forward`."""
        return coded if self._is_coded else self.scale_target(coded)

    def loss_of(
        self, prediction: Float[Tensor, "batch *outputs"], coded: Float[Tensor, "batch *outputs"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the examples given, by the labels of a batch; see `loss`."""
        if not self._is_coded:
            return self.loss(prediction, coded)
        if type(self).loss is not Regression.loss:  # a subclass scales labels itself
            return self.loss(prediction, self.decode(coded).to(coded.dtype if self.offset is None else torch.float64))
        _refuse_other_shape(prediction, coded)
        return _squared_error(prediction, coded, coded.dtype)

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

    @property
    def _working_type(self) -> torch.dtype:
        """The type of scaled labels, and of predictions that are not scaled back."""
        like = next(self.parameters(), None)
        default = torch.get_default_dtype()
        return default if like is None else torch.promote_types(like.dtype, default)

    @property
    def _is_coded(self) -> bool:
        """Whether the labels of a batch are scaled."""
        return self.codes and "mean" in self._learned

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Head:
        for name in ("mean", "scale") if self._far else ():
            self._buffers[name] = self._buffers[name].float()  # type: ignore[union-attr]  # not every device has float64
        return super()._apply(fn, recurse)

    def _refresh_buffers(self) -> None:
        means, scales = self._learned.get("mean"), self._learned.get("scale")
        pairs = zip(means or (), scales or (), strict=True)
        self._far = any(abs(mean) > _FAR * scale for mean, scale in pairs)
        self._set_buffer("mean", means, exact=self._far)
        self._set_buffer("scale", scales, exact=self._far)

    def _scaling(self) -> tuple[Tensor, Tensor]:
        if self.mean is None or self.scale is None:
            raise ValueError(
                "The scale of `Regression(scaled=True)` must be learned before its loss and predictions, got none. Train "
                "with `MultiTaskDataModule`, or call `fit` of the head with all training labels first."
            )
        return self.mean, self.scale

    def _refuse_rounding(self, values: Tensor) -> None:
        """Reject labels whose spread is lost when they are rounded: to float64 if `scaled`, else to the type of predictions."""
        if not len(values):
            return
        dtype = torch.float64 if self.scaled else self._working_type
        spreads = values.std(0, correction=0)
        steps = values.abs().amax(0) * torch.finfo(dtype).eps
        for name, step, spread, value in zip(
            self.called, steps.tolist(), spreads.tolist(), values.abs().amax(0).tolist(), strict=True
        ):
            if (spread or value >= _WHOLE) and step > spread / _STEPS:
                kind = str(dtype).removeprefix("torch.")
                remedy = "" if self.scaled else "Use Regression(scaled=True), which scales them first, or s"
                raise ValueError(
                    f"`Regression` needs labels whose differences {kind} can hold, got numbers around {value:g} in output {name!r}, "
                    f"where the precision of {kind} is {step:.3g}, and a standard deviation of {spread:.3g}. {remedy or 'S'}ubtract a "
                    "fixed number from the column."
                )

    def _refuse_constant(self, values: Tensor) -> None:
        for name, low, high in zip(self.called, values.amin(0).tolist(), values.amax(0).tolist(), strict=True):
            if low == high:
                raise ValueError(
                    f"`scaled=True` needs training labels that differ, got {low} everywhere in output {name!r}. Leave "
                    "the output out: there is nothing to learn."
                )


def _refuse_other_shape(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ValueError(
            f"`target` must be of the shape of the prediction, {list(prediction.shape)}, got {list(target.shape)}. Reshape it."
        )


def _squared_error(prediction: Tensor, target: Tensor, given: torch.dtype) -> Tensor:
    dtype = torch.promote_types(prediction.dtype, given)  # bfloat16 would round the target
    error = prediction.to(dtype) - target.to(dtype)
    return (error * error).mean()  # `F.mse_loss` has no batch rule for its gradient, and is slow under `vmap`
