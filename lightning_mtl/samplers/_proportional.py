"""Every source in proportion to its rows."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ._rule import Rule, Signals


class Proportional(Rule):
    """Draw every source in proportion to its rows, so that all sources have equally many passes.

    Reference: Sanh, Wolf and Ruder, "A hierarchical multi-task approach for learning embeddings from semantic tasks", AAAI
    2019, where it is better than uniform. They count batches; with one batch size for all sources it is the same.

    Raises:
        ValueError: From `rates`: a source does not know its rows.

    Example:
        >>> import torch
        >>> Proportional().rates(0, Signals(("pos", "sick"), torch.tensor([900.0, 100.0]), torch.tensor([9.0, 1.0])))
        tensor([900., 100.], dtype=torch.float64)
    """

    constant = True

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Return the rows."""
        return signals.known_rows("Proportional()").double()
