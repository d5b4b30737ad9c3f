"""What rules refuse, said in one form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import torch
from jaxtyping import Float
from torch import Tensor


def require(holds: bool, name: str, rule: str, value: object, remedy: str) -> None:
    """Refuse a value that breaks a rule.

    Raises:
        ValueError: It does not hold.
    """
    if not holds:
        raise ValueError(f"`{name}` must be {rule}, got {value!r}. {remedy}")


def require_rates(rates: Mapping[str, float], name: str) -> None:
    """Refuse rates by name that could never be drawn by.

    Raises:
        ValueError: No rates, a negative or infinite one, NaN, or nothing but zeros.
    """
    require(len(rates) > 0, name, "rates of sources", rates, "Write {source: rate}.")
    for source, rate in rates.items():
        require(0 <= rate < math.inf, f"{name}[{source!r}]", "finite and at least 0", rate, "Use 0 for never.")
    require(any(rates.values()), name, "above 0 for a source at least", rates, "Draw at least one source.")


def in_order(rates: Mapping[str, float], sources: Sequence[str], name: str) -> Float[Tensor, " sources"]:
    """Bring rates by name into the order of the sources; other names are left out.

    Raises:
        ValueError: A source has no rate.
    """
    for source in sources:
        if source not in rates:
            close = nearest(source, rates)
            raise ValueError(
                f"`{name}` must hold a rate for every source, got none for {source!r}; rates are of {list(rates)}. "
                + (f"Did you mean it by {close!r}?" if close else "Give it one, 0 for never.")
            )
    return torch.tensor([rates[source] for source in sources], dtype=torch.float64)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Find the name that is most like a mistyped one."""
    return next(iter(get_close_matches(name, list(names), 1)), None)
