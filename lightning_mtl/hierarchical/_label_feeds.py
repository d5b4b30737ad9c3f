"""What a task feeds to higher levels: its labels, embedded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..heads import Head


class LabelEmbedding(nn.Module):
    """Embed labels that are known as probabilities: the mean of the labels' embeddings (Hashimoto et al. 2017, equation 2).

    Args:
        labels: Number of labels.
        width: Size of an embedding.
    """

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(labels, width) / width**0.5)

    def forward(self, probabilities: Tensor) -> Tensor:
        return probabilities.to(self.weight.dtype) @ self.weight


def soft(head: Head, prediction: Tensor) -> Tensor:
    """Turn a head's output into what it feeds: probabilities [..., labels], or scaled values."""
    if head.kind == "regression":
        return prediction.unsqueeze(-1) if labels_of(head) == 1 else prediction
    return _both(head.predict(prediction), head)


def gold(head: Head, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return what would be fed if these labels were predicted, and which of them are known, [..., 1]."""
    known = head.labelled(target)
    if head.kind in ("multiclass", "tagging"):
        return F.one_hot(target.clamp(min=0), labels_of(head)).float(), known.unsqueeze(-1)
    values = head.scaled_labels(target) if head.kind == "regression" else target.float()
    values = values.where(known, 0)
    if head.kind == "regression" and labels_of(head) == 1:
        values = values.unsqueeze(-1)
    values = _both(values, head)
    return values, known.unsqueeze(-1) if known.ndim < values.ndim else known


def _both(probability: Tensor, head: Head) -> Tensor:
    return torch.stack([1 - probability, probability], -1) if head.kind == "binary" else probability


def labels_of(head: Head) -> int:
    """Return the number of labels, or values, that a head feeds."""
    return 2 if head.kind == "binary" else head.outputs


def join(size: int, width: int, pretrained: bool) -> nn.Linear:
    """Make the map from labels' embeddings to what is added to a level's input; zero where the level is pretrained."""
    join = nn.Linear(size, width, bias=False)
    if pretrained:
        nn.init.zeros_(join.weight)
    return join
