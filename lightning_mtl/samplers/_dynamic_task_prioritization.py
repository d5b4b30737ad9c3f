"""More of the sources that are still hard."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require_number
from ._rule import Rule, Signals

_EPSILON = 1e-6
"""Smallest distance of a score from 0 and 1, so that a priority is finite and above 0."""


class DynamicTaskPrioritization(Rule):
    """Draw more of the sources whose validation scores are low.

    A source with the score kappa has the priority -(1 - kappa)^gamma log(kappa), and kappa is an exponential moving average.
    Reference: Guo et al., "Dynamic task prioritization for multitask learning", ECCV 2018. They weight losses by the priority;
    here it sets how often a source is drawn.

    Scores are of metrics whose best value is 1, such as accuracy, F1 or a correlation; scores below 0 count as 0. A source
    without a score gets the mean of the other priorities; without any score all sources are drawn equally often. Every call of
    `rates` updates the average with the latest scores, whether they are new or not.

    Args:
        gamma: How strongly hard sources are preferred, at least 0.
        momentum: Share of the old average that is kept at each call, from 0 to below 1: 1 - alpha in the paper. 0 takes the latest
            score.
        exploration: Share of the draws that is uniform, above 0 and at most 1, so that every source is drawn; not in the paper.

    Raises:
        ValueError: A number out of its range; from `rates`: a score above 1.

    Example:
        >>> signals = Signals(("pos", "sick"), torch.tensor([90.0, 10.0]), torch.tensor([9.0, 1.0]))
        >>> signals.scores = torch.tensor([0.97, 0.70])
        >>> DynamicTaskPrioritization().rates(0, signals)
        tensor([0.0330, 0.9670], dtype=torch.float64)
    """

    feedback = True
    judges = True
    best_is_one = True

    def __init__(self, gamma: float = 1.0, momentum: float = 0.0, exploration: float = 0.05) -> None:
        require_number("gamma", gamma, "1 is a good start.", at_least=0)
        require_number("momentum", momentum, "0 takes the latest score alone.", at_least=0, below=1)
        require_number("exploration", exploration, "0.05 is a good start.", above=0, at_most=1)
        self.gamma, self.momentum, self.exploration = gamma, momentum, exploration
        self._scores: dict[str, float] = {}

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Update the averages with the latest scores, and return the shares of the priorities."""
        self._average(signals)
        scores = torch.tensor([self._scores.get(name, math.nan) for name in signals.sources], dtype=torch.float64)
        known = ~scores.isnan()
        shares = torch.full_like(scores, 1 / max(int(known.sum()), 1))
        shares[known] = self._priorities(scores[known]).softmax(0)
        return (1 - self.exploration) * shares / shares.sum() + self.exploration / len(shares)

    def state_dict(self) -> dict[str, Any]:
        """Return the average score of each source."""
        return {"scores": dict(self._scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._scores = dict(state["scores"])

    def _priorities(self, scores: Tensor) -> Tensor:
        """Return the logarithms of the priorities; the priorities themselves could be too small for a float."""
        kappa = scores.clamp(_EPSILON, 1 - _EPSILON)
        return self.gamma * torch.log1p(-kappa) + torch.log(-kappa.log())

    def _average(self, signals: Signals) -> None:
        for name, score in zip(signals.sources, signals.scores.tolist(), strict=True):
            if score > 1 + _EPSILON:
                raise ValueError(
                    f"Scores of DynamicTaskPrioritization must be at most 1, got {score} of source {name!r}. Give its tasks a "
                    "main metric whose best value is 1, e.g. accuracy."
                )
            if math.isfinite(score):
                now = min(max(score, 0.0), 1.0)
                self._scores[name] = self.momentum * self._scores.get(name, now) + (1 - self.momentum) * now
