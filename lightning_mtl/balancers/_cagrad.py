"""The best for the worst task, not far from the mean."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool

from .._checks import require
from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector
from ._mgda import shortest
from ._nonnegative import ROUNDING, firmed, nonnegative

_ROUNDS = 60
_NEAR = 1e-12
"""How near to the end of the ball is on it, in lengths of its radius."""


class CAGrad(CosineBalancer):
    """Let the task that gains least gain most, within a ball around the mean gradient: max min_k g[k].d, |d - mean| <= c |mean|.

    Reference: Liu et al., "Conflict-averse gradient descent for multi-task learning", NeurIPS 2021; solved exactly, by
    an active set. The direction is not divided by 1 + c^2 or 1 + c, as it is in the paper's code: choose the
    learning rate with that in mind.

    Args:
        c: How far from the mean, in lengths of it, from 0 (the mean) to below 1. 0.4 and 0.5 are common.

    Raises:
        ValueError: `c` is not from 0 to below 1.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[1.0, 2.0, -0.5], [-1.5, 0.3, 0.8]])
        >>> CAGrad()(gradients @ gradients.T)
        tensor([0.5632, 0.8619])
    """

    def __init__(self, c: float = 0.5) -> None:
        super().__init__()
        require(0 <= c < 1, "c", "at least 0 and below 1", c, "0.5 is common.")
        self.c = c

    def coefficients(self, gradients: Geometry) -> Vector:
        """Add to the mean what the worst task needs most."""
        mean = gradients.norms / len(gradients.norms)
        length = gradients.norm(mean)
        if not self.c or length <= math.sqrt(gradients.noise) * float(np.linalg.norm(mean)):
            return mean
        direction: Vector = mean + _Ball(gradients, mean, self.c * length).added()
        return direction


class _Ball:
    """What may be added to the mean, and how long it may be.

    For each gain m, the least that must be added so that all tasks gain m is a quadratic program in x >= 0. Its length grows with
    m, and for a fixed set of x above zero m is the root of a square equation: so we go from one set to the next, between
    bounds that close in.
    """

    def __init__(self, gradients: Geometry, mean: Vector, radius: float) -> None:
        self.gradients, self.radius = gradients, radius
        self.inverse, self.inner = 1 / gradients.norms, gradients.cosines @ mean
        self.firm = firmed(gradients.cosines, ROUNDING * len(mean))

    def added(self) -> Vector:
        """Find the largest gain, and what is added for it."""
        gains = self.inner / self.inverse
        low, high = float(gains.min()), float((gains + self.radius / self.inverse).min())
        start = self.least(0.0)
        if self.gradients.norm(start) > self.radius:
            high = min(high, 0.0)
        else:
            low = max(low, 0.0)
            if self._cancel():
                return start
        return self._between(low, high)

    def least(self, gain: float) -> Vector:
        """Find the least that must be added so that all tasks gain this."""
        return nonnegative(self.gradients.cosines, gain * self.inverse - self.inner, self.gradients.noise)

    def _between(self, low: float, high: float) -> Vector:
        gain, before = high, np.zeros(len(self.inner), dtype=bool)
        for _ in range(_ROUNDS):
            x = self.least(gain)
            passive, length = x > 0, self.gradients.norm(x)
            if np.array_equal(passive, before) or abs(length / self.radius - 1) <= max(self.gradients.noise, _NEAR):
                break
            low, high = (low, gain) if length > self.radius else (gain, high)
            gain, before = self._gain(passive), passive
            if not low < gain < high:
                gain, before = (low + high) / 2, np.zeros_like(passive)
        return x

    def _gain(self, passive: Bool[np.ndarray, " tasks"]) -> float:
        """Find the gain at which what these entries add is as long as it may be; NaN if there is none."""
        places = np.flatnonzero(passive)
        if not len(places):
            return math.nan
        both = np.stack([self.inverse[places], self.inner[places]], axis=1)
        (a, b), (_, e) = both.T @ np.linalg.solve(self.firm[places[:, None], places], both)
        square = b * b - a * (e - self.radius**2)
        return float((b + math.sqrt(square)) / a) if square >= 0 else math.nan

    def _cancel(self) -> bool:
        """Tell whether a convex combination of the unit gradients is zero, as far as rounding lets us see."""
        ones = np.ones(len(self.inner))
        nearest = shortest(self.gradients.cosines, ones, self.gradients.noise)
        return self.gradients.norm(nearest) ** 2 <= self.gradients.noise
