"""Dependency arcs: the word that each word depends on."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from .._checks import require_number
from ._base import Head


class Arcs(Head):
    """Predict for each word which word it depends on, or the root, with biaffine attention (dependency arcs).

    Labels are [batch, words]: the number of each word's head, counted from 1; 0 for the root; -100 for a missing label, as in
    the column HEAD of CoNLL-U. A word is scored against each other word by two vectors, one of the word as a dependant and one
    of the other word as a head (Dozat and Manning, "Deep biaffine attention for neural dependency parsing", ICLR 2017,
    equations 4 to 6):

        s_ij = h_j U d_i + h_j u,    d = relu(D r),    h = relu(H r)

    A word is represented by the position where it starts. The loss is the mean cross-entropy over the words that have a label.

    Args:
        size: Size of the vector of a word as a dependant, and of its vector as a head; 500 in the paper.
        layers: The head's own layers, from [batch, length, width] to scores [batch, length, 1 + length]. Default: these.
        dropout: Share of the features that is dropped while training, in [0, 1).

    Raises:
        ValueError: `size` is below one, or `dropout` lies outside [0, 1).

    Example:
        >>> import torch
        >>> head = Arcs(size=4)
        >>> head.build(width=8)
        >>> head(torch.ones(2, 5, 8)).shape  # the root, and five words
        torch.Size([2, 5, 6])
        >>> scores = torch.tensor([[[0.1, 0.0, 0.9], [0.7, 0.3, 0.0]]])
        >>> [answer["heads"] for answer in head.answers(scores, torch.tensor([[0, 1]]))]
        [[2, 0]]

    Unlike in the paper, the root is a learned vector, not a word that the encoder reads. Each word's head is chosen alone: the
    heads of a sentence need not form a tree.
    """

    kind = "arcs"
    dtype = torch.long
    per_position = True
    points = True
    learns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, size: int = 128, *, layers: nn.Module | None = None, dropout: float = 0.0) -> None:
        require_number("size", size, "Leave it out for the default.", at_least=1, whole=True)
        super().__init__(1, layers=layers, dropout=dropout)
        self.size = size

    def build(self, width: int) -> None:
        """Create the layers for features of this width, unless they were given."""
        if self.layers is None:
            self.layers = Biaffine(width, self.size)

    def forward(
        self, features: Float[Tensor, "batch *positions width"], mask: Shaped[Tensor, "batch positions"] | None = None
    ) -> Float[Tensor, "batch positions candidates"]:
        """Return for each position the score of the root, and then of each position, as its head.

        Args:
            features: [batch, length, width].
            mask: [batch, length], true (or 1) at the positions where words start. Default: all of them.

        Returns:
            [batch, length, 1 + length]; minus infinity for masked positions, and for a word itself.

        Raises:
            ValueError: The features have no positions.
        """
        if features.ndim != 3:
            raise ValueError(
                f"Features for `Arcs` must have the shape [batch, length, width], got {list(features.shape)}. Use an "
                "encoder that keeps positions, e.g. `StackedRecurrent` or `HuggingFace`."
            )
        scores = self._apply_layers(features)
        barred = torch.eye(features.shape[1], dtype=torch.bool, device=features.device)
        if mask is not None:
            barred = barred | (mask == 0).unsqueeze(1)
        return scores.masked_fill(F.pad(barred, (1, 0), value=False), -torch.inf)

    def loss(self, prediction: Float[Tensor, "words candidates"], target: Int[Tensor, "words"]) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over the words that have a label."""
        return F.cross_entropy(prediction, target)

    def predict(self, prediction: Float[Tensor, "*positions candidates"]) -> Float[Tensor, "*positions candidates"]:
        """Return the probability of the root, and of each position, as a word's head."""
        return prediction.softmax(-1)

    def answers(
        self, prediction: Float[Tensor, "batch length candidates"], words: Int[Tensor, "batch length"] | None = None
    ) -> list[dict[str, Any]]:
        """Turn probabilities into one answer for each row, in the order of its words.

        Args:
            prediction: Probabilities, as `predict` returns them.
            words: The number of the word that starts at a position, from 0, -1 elsewhere.

        Returns:
            {"heads": [number of the most probable head, from 1, or 0 for the root, ...], "probabilities": [its probability, ...]}.

        Raises:
            ValueError: `words` are missing.
        """
        if words is None:
            raise ValueError(
                "`words` must say which word starts at each position, got None. Give the tokenizer's column of that name."
            )
        words = words.cpu()
        numbers = F.pad(words + 1, (1, 0), value=0)  # the root, then each position; 0 too where no word starts
        allowed = F.pad(words >= 0, (1, 0), value=True).unsqueeze(1)
        best = prediction.detach().cpu().masked_fill(~allowed, -1).max(-1)
        heads = numbers.gather(1, best.indices)
        order = words.where(words >= 0, torch.iinfo(words.dtype).max).argsort(dim=1, stable=True)
        rows = zip(heads.gather(1, order).tolist(), best.values.gather(1, order).tolist(), strict=True)
        return [
            {"heads": chosen[:count], "probabilities": probabilities[:count]}
            for (chosen, probabilities), count in zip(rows, (words >= 0).sum(1).tolist(), strict=True)
        ]

    def place(
        self, target: Int[Tensor, "batch length"], words: Int[Tensor, "batch length"]
    ) -> Int[Tensor, "batch length"]:
        """Turn numbers of words into numbers of the positions where they start, both from 1.

        Args:
            target: The number of the head of the word at each position.
            words: The number of the word that starts at a position, from 0, -1 elsewhere.

        Returns:
            -100 where the encoder does not read as far as the head.
        """
        starts = torch.arange(1, words.shape[1] + 1).expand_as(words)
        size = max(int(part.max()) for part in (target, words + 1, target.new_zeros(1)) if part.numel())
        places = torch.full((len(target), size + 1), -100)
        rows, columns = (words >= 0).nonzero(as_tuple=True)
        places[rows, words[rows, columns] + 1] = starts[rows, columns]
        places[:, 0] = 0
        return places.gather(1, target.clamp(min=0)).masked_fill(target < 0, -100)

    def complete(self, target: Shaped[Tensor, "batch *labels"]) -> bool:
        """Return whether every label is there and in range; this check is quick."""
        return bool(self.valid(target).all())

    def labelled(self, target: Shaped[Tensor, "batch *labels"]) -> Bool[Tensor, "batch *labels"]:
        """Return which labels are there."""
        return target != -100

    def valid(self, target: Shaped[Tensor, "batch words"]) -> Bool[Tensor, "batch words"]:
        """Return which labels, of those that are there, are the root or another word of the row."""
        own = torch.arange(1, target.shape[1] + 1, device=target.device)
        return (target >= 0) & (target <= target.shape[1]) & (target != own)

    @property
    def label_rule(self) -> str:
        """What a label must be, for error messages."""
        return "the number of another word of its row, from 1, or 0 for the root, or -100 for none"


class Biaffine(nn.Module):
    """Score each pair of positions as dependant and head, and each position against the root.

    Args:
        width: Size of the features.
        size: Size of the two vectors of a position.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.width = width
        self.size = size
        self.dependant = nn.Linear(width, size)
        self.head = nn.Linear(width, size)
        self.root = nn.Parameter(torch.randn(size) / size**0.5)
        self.pair = nn.Linear(size, size, bias=False)
        self.alone = nn.Linear(size, 1, bias=False)

    def forward(self, features: Float[Tensor, "batch length width"]) -> Float[Tensor, "batch length candidates"]:
        dependants, heads = self.dependant(features).relu(), self.head(features).relu()
        candidates = torch.cat([self.root.expand(heads.shape[0], 1, -1), heads], 1)
        scores: Tensor = self.pair(dependants) @ candidates.mT + self.alone(candidates).mT
        return scores
