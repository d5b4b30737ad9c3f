"""Rates that the user gives."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ._named_rates import in_order, require_rates
from ._rule import Rule, Signals


class Explicit(Rule):
    """Draw the sources by given rates.

    Args:
        rates: {source: rate}; they need not add up to one. Every source needs a rate. Other names are ignored, because a
            single-task twin in a comparison reads only some of the sources. Kept as `given`, because `rates` is the method.

    Raises:
        ValueError: A rate that is negative, NaN or infinite, or only zeros; from `rates`: a source without a rate.

    Example:
        >>> import torch
        >>> signals = Signals(("pos", "sick"), torch.tensor([900.0, 100.0]), torch.tensor([9.0, 1.0]))
        >>> Explicit({"sick": 3.0, "pos": 1.0}).rates(0, signals)
        tensor([1., 3.], dtype=torch.float64)
    """

    constant = True
    leaves_out = True

    def __init__(self, rates: dict[str, float]) -> None:
        require_rates(rates, "rates")
        self.given = dict(rates)

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Return the given rates in the order of the sources."""
        return in_order(self.given, signals.sources, "rates")

    def names(self) -> set[str]:
        """Return the names of the sources that have a rate."""
        return set(self.given)

    def __repr__(self) -> str:
        return f"Explicit(rates={self.given})"
