"""One class for each position, e.g. for each word."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from .._checks import require_number
from ._class_head import ClassHead, Weights
from ._names import Name


class Tagging(ClassHead):
    """Predict a class for each position, e.g. for each word, with cross-entropy (token classification).

    Labels are [batch, length] of class numbers, -100 at positions without a label. The loss is the mean over the positions
    with a label, [words]; with weights it is not divided by their sum, see `Multiclass`.

    Args:
        tags: Number of classes.
        names: Names of the classes in answers, e.g. ["O", "B-PER", "I-PER"]; see `iob`. Default: their numbers.
        class_weight: Weight of each class in the loss; "balanced" is n / (tags * n of the class).
        focal: How strongly the loss of well-predicted positions is reduced: gamma of Lin et al. 2017, Focal loss for dense
            object detection, equation 4. 0 is plain cross-entropy.
        label_smoothing: Share of a label that is spread evenly over all classes while training, in [0, 1).
        layers: The head's own layers, from [batch, length, width] to [batch, length, tags]. Default: one linear layer.
        dropout: Share of the features that is dropped while training, in [0, 1).

    Raises:
        ValueError: There are fewer than two classes, names or weights are not one for each, `focal` is below 0,
            `label_smoothing` lies outside [0, 1), or both of these are set.

    Example:
        >>> import torch
        >>> head = Tagging(3, names=["O", "B-PER", "I-PER"])
        >>> head.build(width=8)
        >>> head(torch.ones(2, 5, 8)).shape, head.iob
        (torch.Size([2, 5, 3]), True)
        >>> head.answers(torch.tensor([[[0.0, 0.0, 1.0], [0.25, 0.75, 0.0]]]), torch.tensor([[-1, 0]]))
        [{'tags': ['B-PER'], 'probabilities': [0.75]}]
    """

    kind = "tagging"
    per_position = True

    def __init__(
        self,
        tags: int,
        *,
        names: list[Name] | None = None,
        class_weight: Weights = None,
        focal: float = 0.0,
        label_smoothing: float = 0.0,
        layers: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        require_number("tags", tags, "The tag of all other words, e.g. 'O', counts too.", at_least=2, whole=True)
        super().__init__(
            tags,
            classes=tags,
            names=names,
            class_weight=class_weight,
            focal=focal,
            label_smoothing=label_smoothing,
            layers=layers,
            dropout=dropout,
        )
        self.tags = tags

    @property
    def iob(self) -> bool:
        """Whether the names are those of spans (IOB): "O", or a type after "B-" (begin) or "I-" (inside)."""
        names = self.called
        inside = [isinstance(name, str) and name.startswith(("B-", "I-")) for name in names]
        return any(inside) and all(yes or name == "O" for yes, name in zip(inside, names, strict=True))

    def forward(
        self, features: Float[Tensor, "batch *positions width"], mask: Shaped[Tensor, "batch positions"] | None = None
    ) -> Float[Tensor, "batch positions tags"]:
        """Predict logits for each position, whether the mask keeps it or not.

        Args:
            features: [batch, length, width].
            mask: Not used: positions count by their labels or words.

        Returns:
            [batch, length, tags].

        Raises:
            ValueError: The features have no positions.
        """
        if features.ndim < 3:
            raise ValueError(
                f"Features for `Tagging` must have the shape [batch, length, width], got {list(features.shape)}. Use an "
                "encoder that keeps positions, e.g. `Recurrent` or `HuggingFace`."
            )
        return self._apply_layers(features)

    def loss(self, prediction: Float[Tensor, "words tags"], target: Int[Tensor, "words"]) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over the positions with a label."""
        return self._cross_entropy(prediction, target)

    def predict(self, prediction: Float[Tensor, "*positions tags"]) -> Float[Tensor, "*positions tags"]:
        """Return the probability of each class."""
        return prediction.softmax(-1)

    def answers(
        self, prediction: Float[Tensor, "batch length tags"], words: Int[Tensor, "batch length"] | None = None
    ) -> list[dict[str, Any]]:
        """Turn probabilities into one answer for each row, in the order of its words.

        Args:
            prediction: Probabilities, as `predict` returns them.
            words: The number of the word that starts at a position, -1 elsewhere.

        Returns:
            {"tags": [name of the most probable class, ...], "probabilities": [its probability, ...]}.

        Raises:
            ValueError: `words` are missing.
        """
        if words is None:
            raise ValueError(
                "`words` must say which word starts at each position, got None. Give the tokenizer's column of that name."
            )
        names, words = self.called, words.cpu()
        best = prediction.detach().cpu().max(-1)
        last = torch.iinfo(words.dtype).max
        order = words.where(words >= 0, last).argsort(dim=1, stable=True)
        rows = zip(best.indices.gather(1, order).tolist(), best.values.gather(1, order).tolist(), strict=True)
        return [
            {"tags": [names[tag] for tag in tags[:count]], "probabilities": probabilities[:count]}
            for (tags, probabilities), count in zip(rows, (words >= 0).sum(1).tolist(), strict=True)
        ]
