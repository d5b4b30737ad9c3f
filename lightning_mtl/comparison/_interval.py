"""A mean over seeds, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev

import torch

from .._plain import plain


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, with its 95% interval (Student's t); without one where there is a single seed."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Estimate the mean of paired differences."""
        if not all(map(math.isfinite, values)):
            return cls(math.nan, math.nan, math.nan)
        mean = fmean(values)
        if len(values) < 2:
            return cls(mean, float("-inf"), float("inf"))
        half = t_quantile(len(values) - 1) * stdev(values) / len(values) ** 0.5
        return cls(mean, mean - half, mean + half)

    @property
    def verdict(self) -> str:
        """What the interval allows to say about a difference that is better when it is higher."""
        return "gains" if self.low > 0 else "loses" if self.high < 0 else "no evidence"

    def record(self) -> dict[str, float | None]:
        """Give it as plain data; what is not finite is None."""
        made: dict[str, float | None] = plain({"mean": self.mean, "low": self.low, "high": self.high})
        return made

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"{self.mean:+.4f} [one seed]"
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@cache
def t_quantile(degrees: int, tail: float = 0.025) -> float:
    """Compute beyond what `tail` of Student's t lies, by summing up its density over the angle whose tangent is t / sqrt(degrees)."""
    angle = torch.linspace(0, math.pi / 2, 400_001, dtype=torch.float64)
    mass = torch.cumulative_trapezoid(angle.cos() ** (degrees - 1), angle)
    wanted = (1 - 2 * tail) * mass[-1]
    at = int(torch.searchsorted(mass, wanted))
    within = (wanted - mass[at - 1]) / (mass[at] - mass[at - 1])
    return math.sqrt(degrees) * math.tan(float(angle[at] + within * angle[1]))
