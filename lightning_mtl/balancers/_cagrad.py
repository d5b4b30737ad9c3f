"""CAGrad: the best direction for the worst task, near the mean gradient."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool

from .._checks import require_number
from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector
from ._mgda import shortest
from ._nonnegative import ROUNDING, nonnegative, raise_diagonal

_MAX_ROUNDS = 60
_TOLERANCE = 1e-12
"""Relative distance from the surface of the ball that counts as on it."""


class CAGrad(CosineBalancer):
    """Maximise the smallest gain within a ball around the mean gradient: max min_k g[k].d, |d - mean| <= c |mean|.

    Reference: Liu et al., "Conflict-averse gradient descent for multi-task learning", NeurIPS 2021; solved exactly, by
    an active-set method. Unlike in the paper's code, the direction is not divided by 1 + c^2 or 1 + c: choose the
    learning rate with that in mind.

    Args:
        c: Radius of the ball, relative to the length of the mean, from 0 (the mean) to below 1. 0.4 and 0.5 are common.

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
        require_number("c", c, "0.5 is common.", at_least=0, below=1)
        self.c = c

    def coefficients(self, gradients: Geometry) -> Vector:
        """Add to the mean what helps the worst task most."""
        mean = gradients.norms / len(gradients.norms)
        length = gradients.norm(mean)
        if not self.c or length <= math.sqrt(gradients.noise) * float(np.linalg.norm(mean)):
            return mean
        direction: Vector = mean + _Ball(gradients, mean, self.c * length).added()
        return direction


class _Ball:
    """The ball of vectors that may be added to the mean.

    For each gain m, the shortest vector with which all tasks gain m is the solution of a quadratic program in x >= 0. Its
    length grows with m. For a fixed set of positive x, the m at which it reaches the radius is the root of a quadratic equation.
    So we go from one set to the next, between bounds that close in.
    """

    def __init__(self, gradients: Geometry, mean: Vector, radius: float) -> None:
        self.gradients, self.radius = gradients, radius
        self.inverse, self.inner = 1 / gradients.norms, gradients.cosines @ mean
        self.raised_cosines = raise_diagonal(gradients.cosines, ROUNDING * len(mean))

    def added(self) -> Vector:
        """Return the vector of the ball with the largest smallest gain."""
        gains = self.inner / self.inverse
        low, high = float(gains.min()), float((gains + self.radius / self.inverse).min())
        start = self.shortest_with(0.0)
        if self.gradients.norm(start) > self.radius:
            high = min(high, 0.0)
        else:
            low = max(low, 0.0)
            if self._gradients_cancel():
                return start
        return self._between(low, high)

    def shortest_with(self, gain: float) -> Vector:
        """Return the shortest vector with which all tasks have at least this gain."""
        return nonnegative(self.gradients.cosines, gain * self.inverse - self.inner, self.gradients.noise)

    def _between(self, low: float, high: float) -> Vector:
        gain, previous = high, np.zeros(len(self.inner), dtype=bool)
        for _ in range(_MAX_ROUNDS):
            x = self.shortest_with(gain)
            passive, length = x > 0, self.gradients.norm(x)
            tolerance = max(self.gradients.noise, _TOLERANCE)
            if np.array_equal(passive, previous) or abs(length / self.radius - 1) <= tolerance:
                break
            low, high = (low, gain) if length > self.radius else (gain, high)
            gain, previous = self._gain_at_radius(passive), passive
            if not low < gain < high:
                gain, previous = (low + high) / 2, np.zeros_like(passive)
        return x

    def _gain_at_radius(self, passive: Bool[np.ndarray, " tasks"]) -> float:
        """Return the gain at which the vector of these entries has the length of the radius; NaN if there is none."""
        places = np.flatnonzero(passive)
        if not len(places):
            return math.nan
        both = np.stack([self.inverse[places], self.inner[places]], axis=1)
        (a, b), (_, e) = both.T @ np.linalg.solve(self.raised_cosines[places[:, None], places], both)
        discriminant = b * b - a * (e - self.radius**2)
        return float((b + math.sqrt(discriminant)) / a) if discriminant >= 0 else math.nan

    def _gradients_cancel(self) -> bool:
        """Return whether a convex combination of the unit gradients is zero, up to rounding."""
        ones = np.ones(len(self.inner))
        nearest = shortest(self.gradients.cosines, ones, self.gradients.noise)
        return self.gradients.norm(nearest) ** 2 <= self.gradients.noise
