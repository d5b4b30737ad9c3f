"""Weights that balance what each task gains."""

from __future__ import annotations

import numpy as np

from ._geometry import Geometry, Matrix, Vector
from ._nonnegative import ROUNDING, firmed

_STEPS, _HALVES = 100, 30
_NEAR = 1e-7
"""A relative step so small that the one after it would be lost in rounding."""
_FAR, _TINY = 30.0, 1e-200


def fair(gradients: Geometry, alpha: float) -> Vector:
    """Solve G w = w^(-1/alpha): each task gains its weight to the power of -1/alpha.

    In x = w |g| this is C x = b x^(-1/alpha), b = |g|^((1 - alpha)/alpha), where x.C.x / 2 - sum of b x^p / p, p = 1 - 1/alpha, is
    smallest (for p = 0, with logarithms). It is strictly convex and has one minimum, which Newton's method finds in steps that
    are relative to x and go no further than they lead down.

    Args:
        gradients: Cosines and norms.
        alpha: Above 0; 1 is the bargaining solution of Nash, and the larger it is, the more the smallest gain counts.

    Returns:
        Coefficients of the unit gradients, over the largest norm.
    """
    power = 1 - 1 / alpha
    shares = gradients.norms**-power
    x = _minimum(firmed(gradients.cosines, gradients.noise), shares, power)
    scaled: Vector = x * gradients.unit ** (-2 * alpha / (1 + alpha))
    return scaled


def shortened(coefficients: Vector, gradients: Geometry, longest: float | None) -> Vector:
    """Shorten a direction that is longer than allowed."""
    length = 0.0 if longest is None else gradients.unit * gradients.norm(coefficients)
    return coefficients if longest is None or length <= longest else coefficients * (longest / length)


def _minimum(cosines: Matrix, shares: Vector, power: float) -> Vector:
    """Find the positive x with C x = b x^(power - 1)."""
    x = shares ** (1 / (2 - power))
    x = x * (x @ x / (x @ cosines @ x)) ** (1 / (2 - power))
    value = _value(cosines, shares, power, x)
    for _ in range(_STEPS):
        gains, rounding = shares * x**power, ROUNDING * x * x.sum()
        slope = x * (cosines @ x) - gains
        curve = cosines * x * x[:, None]
        curve.ravel()[:: len(x) + 1] += (1 - power) * gains
        step = np.linalg.solve(curve, -slope)
        left = -float(slope @ step)
        if np.abs(step).max() < _NEAR or left <= float(rounding @ (rounding / gains)):
            return _moved(x, step)
        x, value = _lower(cosines, shares, power, x, value + float(rounding.sum()), step, left)
    return x


def _moved(x: Vector, relative: Vector) -> Vector:
    """Take a relative step that leaves all numbers above zero."""
    moved: Vector = x * np.where(relative > 0, 1 + relative, np.exp(np.clip(relative, -_FAR, 0.0)))
    return moved.clip(min=_TINY)


def _lower(
    cosines: Matrix, shares: Vector, power: float, x: Vector, value: float, step: Vector, left: float
) -> tuple[Vector, float]:
    """Go along the step, or half of it, or a quarter ..., until it leads down."""
    for halves in range(_HALVES):
        there = _moved(x, step / 2**halves)
        new = _value(cosines, shares, power, there)
        if new <= value - 1e-4 * left / 2**halves:
            break
    return there, new


def _value(cosines: Matrix, shares: Vector, power: float, x: Vector) -> float:
    logs = np.log(x)
    parts = np.expm1(power * logs) / power if power else logs
    return float(x @ cosines @ x) / 2 - float(shares @ parts)
