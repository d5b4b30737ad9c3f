"""Rows to the power 1 / temperature."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from .._checks import require_number
from ._rule import Rule, Signals


class Temperature(Rule):
    """Draw a source in proportion to min(rows, cap)^(1 / temperature).

    Temperature 1 is proportional to rows; the higher the temperature, the more equal are the rates. Reference: Raffel et al.,
    "Exploring the limits of transfer learning with a unified text-to-text transformer", JMLR 2020, section 3.5.2;
    XLM and MaChAmp write s = 1 / temperature (`Smoothing`).

    Args:
        temperature: Above 0; infinity is uniform.
        cap: Rows above this number do not count. Default: all count.

    Raises:
        ValueError: A number out of its range; from `rates`: a source does not know its rows.

    Example:
        >>> import torch
        >>> signals = Signals(("pos", "sick"), torch.tensor([900.0, 100.0]), torch.tensor([9.0, 1.0]))
        >>> rates = Temperature(temperature=2.0).rates(0, signals)
        >>> rates / rates.sum()
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """

    constant = True

    def __init__(self, temperature: float = 2.0, cap: float | None = None) -> None:
        remedy = "1 is proportional to rows, 5 nearly uniform."
        require_number("temperature", temperature, remedy, above=0, finite=False)
        require_number("cap", cap, "None turns it off.", above=0, finite=False, optional=True)
        self.temperature, self.cap = temperature, cap

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Return the powers of the rows."""
        rows = signals.known_rows("Temperature(...)").double().clamp(max=math.inf if self.cap is None else self.cap)
        return relative(rows) ** (1 / self.temperature)


def relative(rows: Float[Tensor, " sources"]) -> Float[Tensor, " sources"]:
    """Divide rows by the largest number, so that no power of them is infinite."""
    return rows / rows.max().clamp(min=1e-300)
