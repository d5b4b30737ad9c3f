"""All sources alike."""

from __future__ import annotations

import torch
from torch import Tensor

from ._rule import Rule, Signals


class Uniform(Rule):
    """Draw all sources equally often."""

    constant = True

    def rates(self, step: int, signals: Signals) -> Tensor:
        """Give one rate to all."""
        return torch.ones(len(signals.sources), dtype=torch.float64)
