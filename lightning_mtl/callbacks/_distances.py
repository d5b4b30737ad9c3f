"""Distances between predictions and those of an earlier copy of the network."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

KINDS = ("binary", "multiclass", "multilabel", "tagging", "arcs", "regression")
"""Kinds of heads that have a distance."""


def distances(kind: str, new: Tensor, old: Tensor, temperature: float) -> Tensor:
    """Return the distance between two outputs of a head.

    For classes it is the Kullback-Leibler divergence of the new probabilities from the old, both softened by the temperature T, times
    T^2, so that the gradient keeps its size (Hinton et al., "Distilling the knowledge in a neural network", 2015); for several binary
    labels, the mean of their divergences; for numbers, the mean squared error.

    Args:
        kind: The kind of the head.
        new: [batch, ...], logits, or numbers in the scale of the loss.
        old: The earlier outputs, of the same shape.
        temperature: Softens probabilities.

    Returns:
        A number for each row, [batch], or for each position, [batch, length].
    """
    match kind:
        case "regression":
            return (new - old).square().reshape(len(new), -1).mean(1)
        case "binary" | "multilabel":
            divergence = _binary_divergence(new / temperature, old / temperature).reshape(len(new), -1).mean(1)
        case _:
            divergence = _class_divergence((new / temperature).log_softmax(-1), (old / temperature).log_softmax(-1))
    return divergence * temperature**2


def _class_divergence(new: Tensor, old: Tensor) -> Tensor:
    """Return the divergence between class probabilities, given as logarithms; an old probability of 0 contributes nothing."""
    probability = old.exp()
    return (probability * (old - new)).where(probability > 0, 0.0).sum(-1)


def _binary_divergence(new: Tensor, old: Tensor) -> Tensor:
    """Return the divergence between probabilities of binary labels, given as logits."""
    positive = old.sigmoid()
    of_positive = positive * (F.logsigmoid(old) - F.logsigmoid(new))
    return of_positive + (1 - positive) * (F.logsigmoid(-old) - F.logsigmoid(-new))
