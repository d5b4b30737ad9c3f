"""A bandit whose reward is learning progress."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require_number
from ._rule import Rule, Signals

_HISTORY = 1000
"""The latest rewards, of which quantiles are computed."""


class Exp3S(Rule):
    """Draw more of the sources whose loss falls fastest: the adversarial bandit Exp3.S, rewarded for learning progress.

    With K sources, weights w from 0, and a source's reward r, a round is
    pi_i = (1 - exploration) softmax(w)_i + exploration / K; v_i = w_i + learning_rate r_i share_i / pi_i;
    w_i <- log((1 - mixing) exp(v_i) + mixing / (K - 1) sum_{j != i} exp(v_j)).
    References: Graves et al., "Automated curriculum learning for neural networks", ICML 2017, sections 2 and 3; Auer et al.,
    "The nonstochastic multiarmed bandit problem", SIAM Journal on Computing 2002.

    The reward is the decrease of a source's mean training loss since its last known value. It is a cheap substitute for the
    prediction gain of the paper, the decrease on a batch by the step on that batch, which takes a second forward pass. As in the
    paper, rewards are scaled to [-1, 1] so that the 20% and 80% quantiles of all rewards are -1 and 1; we keep the last 1000
    rewards, the paper a random sample of all. Losses of very different scales give rewards that cannot be compared: set the
    `weight` of their tasks.

    The paper has a round in each step; here a round covers the steps between two calls of `rates`. `share_i` is the source's share
    of the draws in it, and `pi` the shares by which they were drawn. With one draw in a round it is exactly Exp3.S. A source
    without a known loss gets no reward, and only mixing changes its weight; steps without any reward are no round.

    Args:
        learning_rate: How far a reward moves a weight, above 0. The paper has 0.001, for a round in each step.
        mixing: Share of a weight that comes from the others, from 0 to 1, so that the rates can follow a change. Default: 1 / t
            for the weights of round t, as in the paper; the rates then converge. With a constant they keep moving.
        exploration: Share of the draws that is uniform, above 0 and at most 1, so that every source is drawn.

    Raises:
        ValueError: A number out of its range.

    Example:
        >>> signals = Signals(("pos", "sick"), torch.tensor([90.0, 10.0]), torch.tensor([9.0, 1.0]))
        >>> rule, signals.draws = Exp3S(learning_rate=0.5, mixing=0.01), torch.tensor([50.0, 50.0])
        >>> for number in range(3):
        ...     signals.losses = torch.tensor([2.0 - 0.5 * number, 2.0])
        ...     rates = rule.rates(number, signals)
        >>> rates
        tensor([0.8729, 0.1271], dtype=torch.float64)
    """

    feedback = True

    def __init__(self, learning_rate: float = 0.1, mixing: float | None = None, exploration: float = 0.05) -> None:
        require_number("learning_rate", learning_rate, "0.1 moves a weight by 0.1 a round.", above=0)
        require_number("mixing", mixing, "None makes it fall with time.", at_least=0, at_most=1, optional=True)
        require_number("exploration", exploration, "0.05 is the paper's.", above=0, at_most=1)
        self.learning_rate, self.mixing, self.exploration = learning_rate, mixing, exploration
        self._weights: dict[str, float] = {}
        self._losses: dict[str, float] = {}
        self._rewards: list[float] = []
        self._round = 1

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Update the weights with the losses of the last round, and return the policy of the next."""
        weights = torch.tensor([self._weights.get(name, 0.0) for name in signals.sources], dtype=torch.float64)
        gains = self._gains(signals)
        known = ~gains.isnan()
        if bool(known.any()):
            draws = signals.draws.nan_to_num(0.0)
            policy = signals.drawn_by.where(signals.drawn_by > 0, self._policy(weights))
            moves = draws / draws.sum().clamp(min=1e-300) / policy
            moves[known] *= self._scaled(gains[known])
            moves[~known] = 0
            weights = self._mixed(weights + self.learning_rate * moves)
            self._weights |= dict(zip(signals.sources, weights.tolist(), strict=True))
        return self._policy(weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the weight and loss of each source, the latest rewards, and the number of the round."""
        kept = {"weights": dict(self._weights), "losses": dict(self._losses), "rewards": list(self._rewards)}
        return {**kept, "round": self._round}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._weights, self._losses = dict(state["weights"]), dict(state["losses"])
        self._rewards, self._round = list(state["rewards"]), state["round"]

    def _policy(self, weights: Tensor) -> Tensor:
        greedy: Tensor = weights.softmax(0)
        return (1 - self.exploration) * greedy + self.exploration / len(weights)

    def _mixed(self, moved: Tensor) -> Tensor:
        self._round += 1
        others = len(moved) - 1
        if not others:
            return moved
        mixing = 1 / self._round if self.mixing is None else self.mixing
        parts = torch.full((len(moved), len(moved)), mixing / others, dtype=torch.float64)
        return torch.logsumexp(parts.fill_diagonal_(1 - mixing).log() + moved, dim=1)

    def _gains(self, signals: Signals) -> Tensor:
        """Return by how much each loss has fallen; NaN where it, or the loss before it, is not known."""
        before = torch.tensor([self._losses.get(name, math.nan) for name in signals.sources], dtype=torch.float64)
        losses = signals.losses.where(signals.losses.isfinite(), math.nan)
        now = zip(signals.sources, losses.tolist(), strict=True)
        self._losses |= {name: loss for name, loss in now if not math.isnan(loss)}
        return before - losses

    def _scaled(self, gains: Tensor) -> Tensor:
        """Scale known gains to [-1, 1] by the quantiles of the latest rewards, these included."""
        self._rewards = (self._rewards + gains.tolist())[-_HISTORY:]
        kept = torch.tensor(self._rewards, dtype=torch.float64)
        low, high = (float(kept.quantile(share)) for share in (0.2, 0.8))
        if not high > low:
            return (gains - low).sign()
        return (2 * (gains - low) / (high - low) - 1).clamp(-1, 1)
