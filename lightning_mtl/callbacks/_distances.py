"""How far predictions are from those that they are held to."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

KINDS = ("binary", "multiclass", "multilabel", "tagging", "arcs", "regression")
"""Kinds of heads whose predictions can be held."""


def distances(kind: str, new: Tensor, old: Tensor, temperature: float) -> Tensor:
    """Measure how far outputs of a head are from others.

    Of classes it is the Kullback-Leibler divergence of the new ones from the old, both softened by the temperature T, times T^2, so
    that the gradient keeps its size (Hinton et al., "Distilling the knowledge in a neural network", 2015); of several yes or no, the mean
    of theirs; of numbers the mean squared error.

    Args:
        kind: The head's.
        new: [batch, ...], outputs in the scale of the loss.
        old: What they are held to, of the same shape.
        temperature: Softens probabilities.

    Returns:
        A number for each row, [batch], or for each position, [batch, length].
    """
    match kind:
        case "regression":
            return (new - old).square().reshape(len(new), -1).mean(1)
        case "binary" | "multilabel":
            return _of_yes(new / temperature, old / temperature).reshape(len(new), -1).mean(1) * temperature**2
    divergence = _of_classes((new / temperature).log_softmax(-1), (old / temperature).log_softmax(-1))
    return divergence * temperature**2


def _of_classes(new: Tensor, old: Tensor) -> Tensor:
    """Give the divergence of probabilities from others, both as logarithms; what is impossible counts for nothing."""
    likely = old.exp()
    return (likely * (old - new)).where(likely > 0, 0.0).sum(-1)


def _of_yes(new: Tensor, old: Tensor) -> Tensor:
    """Give the divergence of a yes or no from another, both as logits."""
    yes = old.sigmoid()
    of_yes = yes * (F.logsigmoid(old) - F.logsigmoid(new))
    return of_yes + (1 - yes) * (F.logsigmoid(-old) - F.logsigmoid(-new))
