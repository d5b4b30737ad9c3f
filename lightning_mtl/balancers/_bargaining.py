"""The solver of Nash-MTL and FairGrad: weights that balance the gains of the tasks."""

from __future__ import annotations

import numpy as np

from ._geometry import Geometry, Matrix, Vector
from ._nonnegative import ROUNDING, raise_diagonal

_MAX_STEPS, _MAX_HALVINGS = 100, 30
_CONVERGED = 1e-7
"""A relative step so small that the next one would be lost in rounding."""
_LARGEST_EXPONENT, _SMALLEST = 30.0, 1e-200


def alpha_fair(gradients: Geometry, alpha: float) -> Vector:
    """Solve G w = w^(-1/alpha): the gain of each task is its weight to the power of -1/alpha.

    With x = w |g| this is C x = b x^(-1/alpha), b = |g|^((1 - alpha)/alpha). The solution minimises
    x.C.x / 2 - sum of b x^p / p, p = 1 - 1/alpha (for p = 0, with logarithms), which is strictly convex. Newton's method finds
    the minimum, with steps relative to x and a line search.

    Args:
        gradients: Cosines and norms.
        alpha: Above 0; 1 is the Nash bargaining solution, and the larger it is, the more the smallest gain counts.

    Returns:
        Coefficients of the unit gradients, divided by the largest norm.
    """
    power = 1 - 1 / alpha
    shares = gradients.norms**-power
    x = _minimum(raise_diagonal(gradients.cosines, gradients.noise), shares, power)
    scaled: Vector = x * gradients.unit ** (-2 * alpha / (1 + alpha))
    return scaled


def clip_length(coefficients: Vector, gradients: Geometry, longest: float | None) -> Vector:
    """Shorten a direction that is longer than allowed."""
    length = 0.0 if longest is None else gradients.unit * gradients.norm(coefficients)
    return coefficients if longest is None or length <= longest else coefficients * (longest / length)


def _minimum(cosines: Matrix, shares: Vector, power: float) -> Vector:
    """Find the positive x with C x = b x^(power - 1)."""
    x = shares ** (1 / (2 - power))
    x = x * (x @ x / (x @ cosines @ x)) ** (1 / (2 - power))
    value = _objective(cosines, shares, power, x)
    for _ in range(_MAX_STEPS):
        gains, rounding = shares * x**power, ROUNDING * x * x.sum()
        slope = x * (cosines @ x) - gains
        curvature = cosines * x * x[:, None]
        curvature.ravel()[:: len(x) + 1] += (1 - power) * gains
        step = np.linalg.solve(curvature, -slope)
        decrement = -float(slope @ step)
        if np.abs(step).max() < _CONVERGED or decrement <= float(rounding @ (rounding / gains)):
            return _step_from(x, step)
        x, value = _line_search(cosines, shares, power, x, value + float(rounding.sum()), step, decrement)
    return x


def _step_from(x: Vector, relative: Vector) -> Vector:
    """Take a relative step that leaves all numbers above zero."""
    moved: Vector = x * np.where(relative > 0, 1 + relative, np.exp(np.clip(relative, -_LARGEST_EXPONENT, 0.0)))
    return moved.clip(min=_SMALLEST)


def _line_search(
    cosines: Matrix, shares: Vector, power: float, x: Vector, value: float, step: Vector, decrement: float
) -> tuple[Vector, float]:
    """Halve the step until the objective falls enough."""
    for halvings in range(_MAX_HALVINGS):
        moved = _step_from(x, step / 2**halvings)
        new = _objective(cosines, shares, power, moved)
        if new <= value - 1e-4 * decrement / 2**halvings:
            break
    return moved, new


def _objective(cosines: Matrix, shares: Vector, power: float, x: Vector) -> float:
    logs = np.log(x)
    parts = np.expm1(power * logs) / power if power else logs
    return float(x @ cosines @ x) / 2 - float(shares @ parts)
