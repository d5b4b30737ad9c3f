"""A mean over seeds, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import torch

from ._plain import plain


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, with its 95% interval (Student's t); without one where there is a single seed."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Estimate the mean of paired differences."""
        mean = fmean(values)
        if len(values) < 2:
            return cls(mean, float("-inf"), float("inf"))
        if math.isnan(mean):
            return cls(mean, mean, mean)
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


def t_quantile(degrees: int) -> float:
    """Compute the 97.5% quantile of Student's t, to 1e-4, by summing up its density."""
    x = torch.linspace(0, 13, 400_001, dtype=torch.float64)  # the quantile is 12.71 at one degree, and falls
    density = (1 + x**2 / degrees) ** (-(degrees + 1) / 2)
    density *= math.gamma((degrees + 1) / 2) / (math.gamma(degrees / 2) * math.sqrt(degrees * math.pi))
    mass = torch.cumulative_trapezoid(density, x)
    return float(x[1:][torch.searchsorted(mass, 0.475)])
