"""More of the sources that are being forgotten."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require, require_number
from ._proportional import Proportional
from ._rule import Rule, Signals


class ForgettingDriven(Rule):
    """Draw a source more often while its validation score is below its best score.

    Its share by another rule is raised by strength / K max(0, best - now - tolerance), with K sources, where best is the highest
    score so far: forgetting as Chaudhry et al. define it, "Riemannian walk for incremental learning", ECCV 2018. To draw
    sources by forgetting is our own idea: no paper proposes it. Where the other rule has stopped drawing a source, as `Phases`
    does, forgetting brings it back for a while.

    A source without a score is drawn as the other rule says. The other rule is asked in every step; what is added to its shares
    changes only when this rule is asked.

    Args:
        base: The other rule, one without feedback. Default: `Proportional()`.
        strength: How strongly a lower score raises the rate, at least 0: with 10, a drop by 0.1 adds the share that a source has
            where all are drawn equally often. 0 turns it off.
        tolerance: A drop that is taken for chance, at least 0.

    Raises:
        ValueError: A number out of its range, or a base with feedback.

    Example:
        >>> from lightning_mtl.samplers import shares
        >>> signals = Signals(("pos", "sick"), torch.tensor([75.0, 25.0]), torch.tensor([9.0, 1.0]))
        >>> rule, signals.scores = ForgettingDriven(), torch.tensor([0.97, 0.70], dtype=torch.float64)
        >>> shares(rule, 0, signals)
        tensor([0.7500, 0.2500], dtype=torch.float64)
        >>> signals.scores = torch.tensor([0.98, 0.50], dtype=torch.float64)
        >>> shares(rule, 1, signals)
        tensor([0.3750, 0.6250], dtype=torch.float64)
    """

    feedback = True
    judges = True

    def __init__(self, base: Rule | None = None, strength: float = 10.0, tolerance: float = 0.0) -> None:
        self.base: Rule = Proportional() if base is None else base
        remedy = "Combine it with Proportional(), Temperature(), Annealed() or another that depends on the step alone."
        require(not self.base.feedback, "base", "a rule without feedback", self.base, remedy)
        require_number("strength", strength, "0 turns it off.", at_least=0)
        require_number("tolerance", tolerance, "0 counts every drop.", at_least=0)
        self.strength, self.tolerance = strength, tolerance
        self._best: dict[str, float] = {}

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Update the best scores, and return what is added to the shares of sources that are being forgotten."""
        forgotten = (self._drops(signals) - self.tolerance).clamp(min=0)
        return self.strength / len(forgotten) * forgotten

    def names(self) -> set[str]:
        """Return the names of the sources that the other rule mentions."""
        return self.base.names()

    def state_dict(self) -> dict[str, Any]:
        """Return the best score of each source."""
        return {"best": dict(self._best)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._best = dict(state["best"])

    def _drops(self, signals: Signals) -> Tensor:
        drops = []
        for name, score in zip(signals.sources, signals.scores.tolist(), strict=True):
            if math.isfinite(score):
                self._best[name] = max(score, self._best.get(name, score))
            drops.append(self._best[name] - score if math.isfinite(score) else 0.0)
        return torch.tensor(drops, dtype=torch.float64)
