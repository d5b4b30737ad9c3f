"""A mean over seeds with its confidence interval."""

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
    """A mean over seeds, with its 95% confidence interval (Student's t), which is infinite for a single seed."""

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
        """The verdict on a difference for which higher is better: "gains", "loses" or "no evidence"."""
        return "gains" if self.low > 0 else "loses" if self.high < 0 else "no evidence"

    def record(self) -> dict[str, float | None]:
        """Return the numbers as plain data; None for those that are not finite."""
        made: dict[str, float | None] = plain({"mean": self.mean, "low": self.low, "high": self.high})
        return made

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"{self.mean:+.4f} [one seed]"
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@cache
def t_quantile(degrees: int, tail: float = 0.025) -> float:
    """Return the value above which Student's t lies with the probability `tail`.

    The density is integrated over the angle whose tangent is t / sqrt(degrees).
    """
    angle = torch.linspace(0, math.pi / 2, 400_001, dtype=torch.float64)
    mass = torch.cumulative_trapezoid(angle.cos() ** (degrees - 1), angle)
    wanted = (1 - 2 * tail) * mass[-1]
    at = int(torch.searchsorted(mass, wanted))
    within = (wanted - mass[at - 1]) / (mass[at] - mass[at - 1])
    return math.sqrt(degrees) * math.tan(float(angle[at] + within * angle[1]))
