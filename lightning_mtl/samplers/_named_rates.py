"""Rates by the names of the sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import did_you_mean, require, require_numbers


def require_rates(rates: Mapping[str, float], name: str) -> None:
    """Reject rates by name by which nothing can be drawn.

    Raises:
        ValueError: No rates, a negative or infinite one, NaN, or only zeros.
    """
    require_numbers(name, rates, "Use 0 for never: {source: rate}.", named=True, at_least=0)
    require(len(rates) > 0, name, "rates of sources", rates, "Write {source: rate}.")
    require(any(rates.values()), name, "above 0 for a source at least", rates, "Draw at least one source.")


def in_order(rates: Mapping[str, float], sources: Sequence[str], name: str) -> Float[Tensor, " sources"]:
    """Return rates by name in the order of the sources; other names are ignored.

    Raises:
        ValueError: A source has no rate.
    """
    for source in sources:
        if source not in rates:
            raise ValueError(
                f"`{name}` must hold a rate for every source, got none for {source!r}; rates are of {list(rates)}. "
                + did_you_mean(source, rates, "Give it one, 0 for never.")
            )
    return torch.tensor([rates[source] for source in sources], dtype=torch.float64)
