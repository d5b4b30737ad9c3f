"""Rates by the user's own function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ._named_rates import in_order
from ._rule import Rule, Signals


class FunctionOfStep(Rule):
    """Draw the sources by rates that are any function of the step.

    Args:
        function: From the number of the training batch, from 0, to {source: rate} or to rates in the order of the sources. It must
            always return the same rates for the same step, so that a resumed run draws what an uninterrupted run draws.
            Other names are ignored, as in `Explicit`.

    Raises:
        ValueError: From `rates`: a source without a rate.

    Example:
        >>> signals = Signals(("pos", "sick"), torch.tensor([900.0, 100.0]), torch.tensor([9.0, 1.0]))
        >>> rule = FunctionOfStep(lambda step: {"pos": 1.0, "sick": min(step / 100, 1.0)})
        >>> rule.rates(50, signals)
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """

    leaves_out = True

    def __init__(self, function: Callable[[int], Mapping[str, float] | Sequence[float]]) -> None:
        self.function = function

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Return what the function returns for this step."""
        given = self.function(step)
        if isinstance(given, Mapping):
            return in_order(given, signals.sources, "function")
        return torch.as_tensor(given, dtype=torch.float64)

    def __repr__(self) -> str:
        return f"FunctionOfStep(function={getattr(self.function, '__qualname__', self.function)})"
