"""The scale of a column of numbers; a few huge values do not erase the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

FAR = 100
"""How many times as far from the median as all others a value must be to be huge."""
_SHRINKS = 10
"""How many times the spread of the others must be for huge values to be clipped."""
_SHARE = 100
"""A hundredth of the values, or else one, may be huge: more of them are no accident."""
_LEAST = 10
"""Fewer values than these show no spread that others could be far from."""


def scale_of(numbers: np.ndarray) -> dict[str, Any]:
    """Return the mean and the standard deviation of numbers, and limits where a few of them are huge.

    Huge are values more than 100 times as far from the median as all others, at most one in a hundred. Where they would make the
    spread of the others a tenth or less, they are left out of mean and deviation, and clipped to the extremes of the others.

    Args:
        numbers: Finite numbers, at least one.

    Returns:
        {"mean", "scale"}; where values are clipped also {"low", "high", "huge": how many, "largest": the one farthest out}.

    Example:
        >>> scale_of(np.array([1.0, 3.0]))
        {'mean': 2.0, 'scale': 1.0}
        >>> scale_of(np.array([1.0, 3.0] * 6 + [1e30]))
        {'mean': 2.0, 'scale': 1.0, 'low': 1.0, 'high': 3.0, 'huge': 1, 'largest': 1e+30}
    """
    mean, scale = _moments(numbers)
    if not _may_be_huge(numbers, mean, scale):
        return {"mean": mean, "scale": scale}
    others = _others(numbers)
    own_mean, own_scale = _moments(others)
    if len(others) == len(numbers) or scale < _SHRINKS * own_scale:
        return {"mean": mean, "scale": scale}
    low, high = float(others.min()), float(others.max())
    largest = float(numbers.max() if numbers.max() > high else numbers.min())
    huge = {"low": low, "high": high, "huge": len(numbers) - len(others), "largest": largest}
    return {"mean": own_mean, "scale": own_scale, **huge}


def _moments(numbers: np.ndarray) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(numbers.mean()), float(numbers.std())
        if not math.isfinite(mean + scale):  # squares are beyond float64
            peak = float(np.abs(numbers).max())
            mean, scale = float((numbers / peak).mean() * peak), float((numbers / peak).std() * peak)
    # Rounding errors would give a constant a small deviation.
    return mean, scale if numbers.min() < numbers.max() else 1.0


def _may_be_huge(numbers: np.ndarray, mean: float, scale: float) -> bool:
    """Return whether the extremes are so many deviations from the mean as huge values, which are few, must be."""
    if len(numbers) < _LEAST:
        return False
    extreme = max(float(numbers.max()) / scale - mean / scale, mean / scale - float(numbers.min()) / scale)
    return extreme > 0.9 * math.sqrt(min(_SHARE, len(numbers)) - 1)


def _others(numbers: np.ndarray) -> np.ndarray:
    """Return the numbers that are not huge."""
    with np.errstate(over="ignore"):
        far = np.abs(numbers - np.median(numbers))
    most = max(1, len(far) // _SHARE)
    top = np.sort(np.partition(far, len(far) - most - 1)[len(far) - most - 1 :])
    with np.errstate(over="ignore"):
        gaps = (top[1:] > FAR * top[:-1]) & (top[:-1] > 0)
    return numbers[far <= top[gaps.argmax()]] if gaps.any() else numbers
