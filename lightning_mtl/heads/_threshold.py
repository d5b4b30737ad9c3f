"""Thresholds: the answer is yes above this probability."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ._for_each import for_each


def threshold_for_each(threshold: float | Iterable[float], count: int) -> list[float]:
    """Return thresholds, given as one number for all labels or one for each, as one for each.

    Raises:
        ValueError: There are more or fewer than `count`, or one lies outside (0, 1).
    """
    each = for_each(threshold, count)
    if len(each) != count or not all(0 < t < 1 for t in each):
        raise ValueError(
            f"`threshold` must lie in (0, 1), one for all labels or {count}, got {threshold!r}. Usual is 0.5."
        )
    return each


def at_least_float32(probability: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return probabilities in float32 at least, the type in which they are compared with thresholds."""
    return probability.to(torch.promote_types(probability.dtype, torch.float32))


def exceeds(probability: Float[Tensor, "*shape"], threshold: Float[Tensor, "*labels"]) -> Bool[Tensor, "*shape"]:
    """Return true where a probability is above its threshold, as torchmetrics does."""
    probability = at_least_float32(probability)
    return probability > threshold.to(probability)


def centered(probability: Float[Tensor, "*shape"], threshold: Float[Tensor, "*labels"]) -> Float[Tensor, "*shape"]:
    """Stretch probabilities so that the threshold becomes one half, and their order stays.

    The stretch is linear from 0 to the threshold and from there to 1. Probabilities above the threshold stay above one half, so
    that a threshold of one half then decides as `exceeds` does.
    """
    probability = at_least_float32(probability)
    threshold = threshold.to(probability)
    below = probability * (0.5 / threshold)
    above = 0.5 + (probability - threshold) * (0.5 / (1 - threshold))
    half = torch.full_like(probability, 0.5)
    above = above.maximum(torch.nextafter(half, torch.ones_like(half)))
    return torch.where(probability > threshold, above, below.minimum(half))


def best_threshold(probability: Float[Tensor, "n"], target: Int[Tensor, "n"]) -> float | None:
    """Find the threshold with the highest F1, exactly.

    All thresholds between neighbouring scores are compared (and one below the lowest score, with 0 as its neighbour); F1 is
    2 * true positives / (predicted positives + positives). The threshold is the middle between the best two neighbours; of equally
    good ones the nearest to one half. Van Rijsbergen 1979, Information retrieval, chapter 7, for F; Lipton et al. 2014, Optimal
    thresholding of classifiers to maximize F1 measure, for why it is rarely one half.

    Args:
        probability: Scores in [0, 1].
        target: 0 and 1; -100 is left out.

    Returns:
        The threshold; None where no example is a yes, so that F1 is not defined.
    """
    known = target >= 0
    scores, order = at_least_float32(probability[known]).sort(descending=True)
    yes = target[known][order].double()
    lower = torch.cat([scores[1:], scores.new_zeros(1)])[: len(scores)]
    predicted = torch.arange(1, len(scores) + 1, device=scores.device, dtype=torch.float64)
    f1 = 2 * yes.cumsum(0) / (predicted + yes.sum())
    middle = (scores + lower) / 2
    middle = torch.where(middle < scores, middle, lower)  # no number lies between neighbours of the type
    f1[(lower == scores) | (middle <= 0)] = -1
    if not yes.any() or f1.max() < 0:
        return None
    best = middle[f1 == f1.max()]
    return float(best[(best - 0.5).abs().argmin()])
