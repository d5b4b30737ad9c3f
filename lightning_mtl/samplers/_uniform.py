"""Every source equally often."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ._rule import Rule, Signals


class Uniform(Rule):
    """Draw every source equally often.

    Small sources then have many passes while large sources have one.

    Example:
        >>> Uniform().rates(0, Signals(("pos", "sick"), torch.tensor([8936.0, 4439.0]), torch.tensor([358.0, 178.0])))
        tensor([1., 1.], dtype=torch.float64)
    """

    constant = True

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Return ones."""
        return torch.ones(len(signals.sources), dtype=torch.float64)
