"""What every head has: a readout of the features, its own layers, and what it knows of its labels."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

Readout = Literal["mean", "first", "last"]
Name = str | int | float | bool


class Head(nn.Module, ABC):
    """A task's own layers: from shared features to this task's prediction.

    A subclass says what its labels are (`kind`, `dtype`, `labelled`, `valid`), how wrong a prediction is (`loss`), and
    what a user reads off it (`predict`). The layers are made by `build`, when the width of the features is known. Each
    argument stays an attribute of its own name; what a head learns from labels (`fit`, `tune`) is kept beside them, see
    `learned`.

    Args:
        outputs: Numbers that the head predicts for each example.
        names: What answers call the outputs (or classes), one name for each. Default: their numbers.
        layers: The head's own layers, from [batch, width] to [batch, outputs]. Default: one linear layer.
        readout: How features with positions, [batch, length, width], become one vector: the mean over the positions
            that the mask keeps, the first position, or the last that the mask keeps. Features of shape [batch, width]
            are taken as they are.
        dropout: Share of the features that is dropped while training, in [0, 1).

    Raises:
        ValueError: `outputs` is below one, `names` are not one for each output or not all different, `readout` is
            unknown, or `dropout` lies outside [0, 1).
    """

    kind: ClassVar[str]
    """The prediction's name in torchmetrics: "binary", "multiclass", "multilabel" or "regression"; or "tagging", "arcs"."""
    dtype: ClassVar[torch.dtype]
    """What a target column is converted to."""
    per_position: ClassVar[bool] = False
    """Whether each position of an example has a label of its own."""
    points: ClassVar[bool] = False
    """Whether a label is the number of another word; then its mask says where words start, and `place` puts labels there."""
    learns: ClassVar[tuple[str, ...]] = ("names",)
    """Keys that `learned` may hold."""
    smooths: ClassVar[bool] = False
    """Whether its labels are classes, which can be smoothed."""

    def __init__(
        self,
        outputs: int,
        *,
        names: list[Name] | None = None,
        layers: nn.Module | None = None,
        readout: Readout = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if outputs < 1:
            raise ValueError(f"`outputs` must be at least 1, got {outputs}.")
        if readout not in ("mean", "first", "last"):
            raise ValueError(f"`readout` must be 'mean', 'first' or 'last', got {readout!r}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must lie in [0, 1), got {dropout}.")
        self.outputs = outputs
        self.names = names
        self.readout = readout
        self.set_dropout(dropout)
        self.layers = layers
        self._found: dict[str, Any] = {}
        self.fitted = False
        """Whether it has learned from training labels, or been restored; then it is not asked to learn anew."""
        self._check_names(names)

    def set_dropout(self, dropout: float) -> None:
        """Choose the share of the features that is dropped while training, in [0, 1)."""
        self.dropout = dropout
        self.drop = nn.Dropout(dropout) if dropout else None

    def set_label_smoothing(self, label_smoothing: float) -> None:
        """Choose the share of a label that is spread over all classes while training, where labels are classes (`smooths`)."""
        raise NotImplementedError(f"labels of {type(self).__name__} are no classes")

    def build(self, width: int) -> None:
        """Make the layers for features of this width, unless they were given."""
        if self.layers is None:
            self.layers = nn.Linear(width, self.outputs)
        self._settle()

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
        prediction = self._apply_layers(self.read(features, mask))
        return prediction.squeeze(-1) if self.outputs == 1 and not self.label_shape else prediction

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one example's label."""
        return ()

    @property
    def called(self) -> list[Any]:
        """What answers call the outputs (or classes): names found in the data, names given, or else their numbers."""
        found = self.called_or_none
        return list(range(self._named)) if found is None else found

    @property
    def called_or_none(self) -> list[Any] | None:
        """Names found in the data, or given; nothing where outputs go by their numbers."""
        found: list[Any] | None = self._found.get("names", self.names)
        return found

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "batch *outputs"], target: Shaped[Tensor, "batch *labels"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the examples given."""

    @abstractmethod
    def predict(self, prediction: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Turn the output of `forward` into what a user reads: probabilities, or values."""

    def judged(self, prediction: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Turn what `predict` gives into what metrics get, which cut probabilities at one half."""
        return prediction

    def answers(self, prediction: Tensor, words: Tensor | None = None) -> list[dict[str, Any]]:
        """Turn what `predict` gives into plain Python, one dictionary for each row.

        Args:
            prediction: [batch] or [batch, outputs], of any device and floating type.
            words: For heads with a label for each position: [batch, length], the number of the word that starts at a
                position, -1 elsewhere.

        Returns:
            {"value": v}; with several outputs {"values": {name: v}}, or {"values": [v, ...]} without names.
        """
        rows = prediction.detach().cpu().tolist()
        if prediction.ndim == 1:
            return [{"value": value} for value in rows]
        if self.called_or_none is None:
            return [{"values": values} for values in rows]
        names = self.called
        return [{"values": dict(zip(names, values, strict=True))} for values in rows]

    def scale_target(self, target: Shaped[Tensor, "batch *labels"]) -> Shaped[Tensor, "batch *labels"]:
        """Turn a target into the scale of the head's raw output."""
        return target

    def place(
        self, target: Int[Tensor, "batch length"], words: Int[Tensor, "batch length"]
    ) -> Int[Tensor, "batch length"]:
        """Turn labels that are numbers of words into numbers of positions; the labels of most heads are none.

        Args:
            target: The label of what is at each position.
            words: The number of the word that starts at a position, from 0, -1 elsewhere.
        """
        return target

    # What is learned from labels, outside the gradient

    def fit(self, target: Tensor) -> None:
        """Learn from the labels of all training examples what the loss needs; a second call learns anew.

        Args:
            target: All labels there are, in the head's form, e.g. [n]; for heads with a label for each position those
                of all positions, [n].
        """

    def tune(self, probability: Tensor, target: Tensor) -> None:
        """Choose how `predict`'s probabilities become decisions, by examples that were not trained on.

        Args:
            probability: What `predict` gives for them.
            target: Their labels.
        """

    def learned(self) -> dict[str, Any]:
        """Give what was learned or tuned as plain data; nothing for a fresh head."""
        return copy.deepcopy(self._found)

    def restore(self, learned: dict[str, Any]) -> None:
        """Know exactly what another head had `learned`; what this head learned before is forgotten.

        Args:
            learned: What `learned` gave.

        Raises:
            ValueError: A key that this head does not learn, or names that do not fit.
        """
        if unknown := [key for key in learned if key not in self.learns]:
            raise ValueError(
                f"`learned` of {type(self).__name__} may hold {list(self.learns)}, got {unknown}. Restore it into a head "
                "of the kind that learned it."
            )
        self._check_names(learned.get("names"))
        self._found = copy.deepcopy(dict(learned))
        self.fitted = True
        self._settle()

    # Labels

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

    # For subclasses

    @property
    def _named(self) -> int:
        """How many names there are."""
        return self.outputs

    def read(
        self, features: Float[Tensor, "batch *positions width"], mask: Shaped[Tensor, "batch positions"] | None = None
    ) -> Float[Tensor, "batch *read"]:
        """Give what the head's layers read: of features with positions, one vector for each example, [batch, width].

        Args:
            features: See `forward`.
            mask: See `forward`.
        """
        if features.ndim == 2:
            return features
        if self.readout == "first":
            return features[:, 0]
        if self.readout == "last":
            return features[:, -1] if mask is None else features[_numbers(mask.shape[0], mask), _last(mask)]
        if mask is None:
            return features.mean(1)
        kept = mask.unsqueeze(-1).to(features.dtype)
        return (features * kept).sum(1) / kept.sum(1).clamp(min=1)

    def _apply_layers(self, features: Tensor) -> Tensor:
        assert self.layers is not None, "`build` comes before `forward`"
        prediction: Tensor = self.layers(features if self.drop is None else self.drop(features))
        return prediction

    def _check_names(self, names: list[Name] | None) -> None:
        if names is not None and not len(set(names)) == len(names) == self._named:
            raise ValueError(
                f"`names` must be {self._named} different names, one for each class or output of {type(self).__name__}, "
                f"got {names}. Give them in the order of the numbers, or leave them out."
            )

    def _settle(self) -> None:
        """Bring what was learned to where the head's layers are; called whenever either changes."""

    def _hold(self, name: str, values: list[float] | None) -> None:
        """Keep numbers as a tensor beside the layers, out of the state dict."""
        like = next(self.parameters(), self._buffers.get(name))
        dtype = torch.promote_types(torch.float32 if like is None else like.dtype, torch.float32)
        device = None if like is None else like.device
        tensor = None if values is None else torch.tensor(values, dtype=dtype, device=device)
        self.register_buffer(name, tensor, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Head:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._settle()  # from the numbers themselves: a cast to bfloat16 would have rounded them
        return self


def through(head: Head, features: Tensor | tuple[Tensor, Tensor | None], words: Tensor | None = None) -> Tensor:
    """Let a head read what an encoder gave.

    Args:
        head: The head.
        features: Features, with their mask where there are positions.
        words: The number of the word that starts at each position, -1 elsewhere, which a head that points at words goes by.
    """
    values, mask = features if isinstance(features, tuple) else (features, None)
    if head.points and words is not None:
        mask = words >= 0
    prediction: Tensor = head(values) if mask is None else head(values, mask)
    return prediction


def _numbers(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device)


def _last(mask: Tensor) -> Tensor:
    """Number the last position that a mask keeps, the first where it keeps none."""
    return ((mask != 0) * _numbers(mask.shape[1], mask)).argmax(1)
