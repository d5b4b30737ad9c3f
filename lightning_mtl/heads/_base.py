"""What every head has: a readout of the features, its own layers, and what it has learned from labels."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from .._checks import require_number
from .._distributed import sum_dtype
from ._coding import LabelCoding
from ._names import Name, plain_names, refuse_names
from ._readout import Readout, read_out, refuse_readout


class Head(nn.Module, LabelCoding, ABC):  # FSDP2 needs nn.Module first
    """A task's own layers: from shared features to this task's prediction.

    A subclass defines what its labels are (`kind`, `dtype`, `labelled`, `valid`), its loss (`loss`), and what users get as a
    prediction (`predict`). `build` creates the layers when the width of the features is known. Each argument stays an
    attribute of the same name; what a head learns from labels (`fit`, `tune`) is kept beside them, see `learned`.

    Args:
        outputs: Numbers that the head predicts for each example.
        names: Names of the outputs (or classes) in answers, one for each. Default: their numbers.
        layers: The head's own layers, from [batch, width] to [batch, outputs]. Default: one linear layer.
        readout: How features with positions, [batch, length, width], become one vector: "mean", the mean over the positions
            that the mask keeps; "first", the first position; "last", the last that the mask keeps. Features of shape
            [batch, width] are taken as they are.
        dropout: Share of the features that is dropped while training, in [0, 1).

    Raises:
        ValueError: `outputs` is below one, `names` are not one for each output or not all different, `readout` is
            unknown, or `dropout` lies outside [0, 1).
    """

    kind: ClassVar[str]
    """The kind of prediction, as torchmetrics calls it: "binary", "multiclass", "multilabel" or "regression"; or "tagging", "arcs"."""
    dtype: ClassVar[torch.dtype]
    """The type of its labels."""
    per_position: ClassVar[bool] = False
    """Whether each position of an example has a label of its own."""
    points: ClassVar[bool] = False
    """Whether a label is the number of another word; then its mask is where words start, and `place` moves labels there."""
    learns: ClassVar[tuple[str, ...]] = ("names",)
    """Keys that `learned` may have."""
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
        require_number("outputs", outputs, "1 is one number.", at_least=1, whole=True)
        require_number("dropout", dropout, "0 turns it off.", at_least=0, below=1)
        refuse_readout(readout)
        self.outputs = outputs
        self.names = plain_names(names)
        self.readout = readout
        self.set_dropout(dropout)
        self.layers = layers
        self._learned: dict[str, Any] = {}
        self.fitted = False
        """Whether it has learned from training labels, or was restored; then a data module does not fit it again."""
        refuse_names(names, self._name_count, type(self).__name__)

    def set_dropout(self, dropout: float) -> None:
        """Set the share of the features that is dropped while training, in [0, 1)."""
        self.dropout = dropout
        self.drop = nn.Dropout(dropout) if dropout else None

    def set_label_smoothing(self, label_smoothing: float) -> None:
        """Set the share of a label that is spread over all classes while training, where labels are classes (`smooths`)."""
        raise NotImplementedError(f"labels of {type(self).__name__} are no classes")

    def build(self, width: int) -> None:
        """Create the layers for features of this width, unless they were given."""
        if self.layers is None:
            self.layers = nn.Linear(width, self.outputs)
        self._refresh_buffers()

    def forward(
        self, features: Float[Tensor, "batch *positions width"], mask: Shaped[Tensor, "batch positions"] | None = None
    ) -> Float[Tensor, "batch *outputs"]:
        """Return what the loss reads: logits for classes, values for numbers.

        Args:
            features: [batch, width], or [batch, length, width] with positions.
            mask: [batch, length], true (or 1) at the positions that count. Default: all of them.

        Returns:
            [batch, outputs], or [batch] where an example has one number.
        """
        prediction = self._apply_layers(self.read(features, mask))
        return prediction.squeeze(-1) if self.outputs == 1 and not self.label_shape else prediction

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one example's label."""
        return ()

    @property
    def called(self) -> list[Any]:
        """Names of the outputs (or classes) in answers: those found in the data, those given, or else their numbers."""
        found = self.called_or_none
        return list(range(self._name_count)) if found is None else found

    @property
    def called_or_none(self) -> list[Any] | None:
        """Names found in the data, or given; None where outputs go by their numbers."""
        found: list[Any] | None = self._learned.get("names", self.names)
        return found

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "batch *outputs"], target: Shaped[Tensor, "batch *labels"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the examples given."""

    @abstractmethod
    def predict(self, prediction: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Turn the output of `forward` into what users get: probabilities, or values."""

    def judged(self, prediction: Float[Tensor, "batch *outputs"]) -> Float[Tensor, "batch *outputs"]:
        """Turn what `predict` returns into what metrics get; their threshold is always one half."""
        return prediction

    def answers(self, prediction: Tensor, words: Tensor | None = None) -> list[dict[str, Any]]:
        """Turn what `predict` returns into plain Python, one dictionary for each row.

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
        """Turn a target into the scale of the output of `forward`."""
        return target

    def place(
        self, target: Int[Tensor, "batch length"], words: Int[Tensor, "batch length"]
    ) -> Int[Tensor, "batch length"]:
        """Turn labels that are numbers of words into numbers of positions; other labels stay as they are.

        Args:
            target: The label at each position.
            words: The number of the word that starts at a position, from 0, -1 elsewhere.
        """
        return target

    # What is learned from labels, outside the gradient

    def fit(self, target: Tensor) -> None:
        """Learn from the labels of all training examples what the loss needs; a second call starts afresh.

        Args:
            target: All labels that are not missing, in the head's form, e.g. [n]; for heads with a label for each position
                those of all positions, [n].
        """

    def tune(self, probability: Tensor, target: Tensor) -> None:
        """Choose how the probabilities of `predict` become decisions, by examples that were not trained on.

        Args:
            probability: What `predict` returns for them.
            target: Their labels.
        """

    def learned(self) -> dict[str, Any]:
        """Return what was learned or tuned as plain data; nothing for a fresh head."""
        return copy.deepcopy(self._learned)

    def restore(self, learned: dict[str, Any]) -> None:
        """Take over what another head had `learned`, in place of what this head has learned.

        Args:
            learned: What `learned` returned.

        Raises:
            ValueError: A key that this head does not have, or names that do not fit.
        """
        if unknown := [key for key in learned if key not in (*self.learns, "constants")]:
            raise ValueError(
                f"`learned` of {type(self).__name__} may hold {list(self.learns)}, got {unknown}. Restore it into a head "
                "of the kind that learned it."
            )
        refuse_names(learned.get("names"), self._name_count, type(self).__name__)
        kept = {key: self._learned[key] for key in self._learned if key == "constants"}  # earlier checkpoints have none
        self._learned = copy.deepcopy({**kept, **learned})
        self.fitted = True
        self._refresh_buffers()

    # Labels

    @abstractmethod
    def complete(self, target: Shaped[Tensor, "batch *labels"]) -> bool:
        """Return whether every label is there and in range; this check is quick."""

    @abstractmethod
    def labelled(self, target: Shaped[Tensor, "batch *labels"]) -> Bool[Tensor, "batch *labels"]:
        """Return which labels are there."""

    @abstractmethod
    def valid(self, target: Shaped[Tensor, "batch *labels"]) -> Bool[Tensor, "batch *labels"]:
        """Return which labels, of those that are there, are in range."""

    @property
    @abstractmethod
    def label_rule(self) -> str:
        """What a label must be, for error messages."""

    # For subclasses

    @property
    def _name_count(self) -> int:
        """How many names a head of this kind has."""
        return self.outputs

    def read(
        self, features: Float[Tensor, "batch *positions width"], mask: Shaped[Tensor, "batch positions"] | None = None
    ) -> Float[Tensor, "batch *read"]:
        """Return what the layers read: of features with positions, one vector for each example, [batch, width]."""
        return read_out(features, mask, self.readout)

    def _apply_layers(self, features: Tensor) -> Tensor:
        assert self.layers is not None, "`build` comes before `forward`"
        prediction: Tensor = self.layers(features if self.drop is None else self.drop(features))
        return prediction

    def _refresh_buffers(self) -> None:
        """Put what was learned into buffers on the device of the layers; called whenever either changes."""

    def _set_buffer(self, name: str, values: list[float] | None, *, exact: bool = False) -> None:
        """Keep numbers in a buffer beside the layers, out of the state dict; if they must be exact, in float64 where the device has it."""
        like = next(self.parameters(), self._buffers.get(name))
        device = torch.device("cpu") if like is None else like.device
        least = sum_dtype(device) if exact else torch.float32
        dtype = torch.promote_types(torch.float32 if like is None else like.dtype, least)
        tensor = None if values is None else torch.tensor(values, dtype=dtype, device=device)
        self.register_buffer(name, tensor, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Head:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._refresh_buffers()  # from the numbers themselves: a cast to bfloat16 would have rounded them
        return self
