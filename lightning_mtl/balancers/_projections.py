"""Projections of many vectors onto one cone, in parallel."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ._geometry import Matrix
from ._nonnegative import RIDGE, ROUNDING, nonnegative, raise_diagonal

_FEW = 12
"""Number of tasks up to which the signs of the cosines are a good enough first guess."""
_MAX_ROUNDS = 12

Rows = Float64[np.ndarray, "rows tasks"]
Numbers = Int64[np.ndarray, " _"]
Mask = Bool[np.ndarray, "rows tasks"]


def projected(cosines: Matrix, noise: float) -> Matrix:
    """Project each unit gradient onto the directions that make no task worse.

    Row k is the shortest vector that has to be added to unit gradient k: the z >= 0 that minimises z.C.z / 2 + C[k].z. All rows
    pivot at once, as `nonnegative` does for one. The first guess comes from a few steps of projected gradient descent, which
    cost much less than a round of pivots.

    Args:
        cosines: Cosines C between the gradients.
        noise: Largest error of the eigenvalues of C.

    Returns:
        Coefficients z, a row for each gradient.
    """
    added, unsolved = np.zeros_like(cosines), np.arange(len(cosines))
    passive = _guess(cosines)
    for by in (ROUNDING * len(cosines), max(noise, RIDGE)):
        unsolved = _pivot(raise_diagonal(cosines, by), passive, added, unsolved)
    for number in unsolved.tolist():
        added[number] = nonnegative(cosines, -cosines[number], noise)
    return added.clip(min=0.0)


def _pivot(cosines: Matrix, passive: Mask, added: Rows, unsolved: Numbers) -> Numbers:
    """Exchange all infeasible entries, in place, and return the rows that still have some."""
    for _ in range(_MAX_ROUNDS):
        if not len(unsolved):
            break
        rows = _solve_passive(cosines, passive[unsolved], -cosines[unsolved])
        slope = rows @ cosines
        slope += cosines[unsolved]
        slack = ROUNDING * len(cosines) * (1 + rows.max(axis=1, keepdims=True))
        wrong = np.where(passive[unsolved], rows < -slack, slope < -slack)
        added[unsolved] = rows
        passive[unsolved] ^= wrong
        unsolved = unsolved[wrong.any(axis=1)]
    return unsolved


def _guess(cosines: Matrix) -> Mask:
    """Guess which entries of the solution are above zero."""
    first = cosines < 0
    if len(cosines) <= _FEW or not first.any():
        return first
    step = 1 / float(np.linalg.norm(cosines @ cosines)) ** 0.5  # the norm is at least the largest eigenvalue, squared
    rows = np.maximum(cosines * -step, 0.0)
    ahead, weight = rows.copy(), 1.0
    for _ in range(len(cosines) // 3):  # accelerated: Beck and Teboulle, 2009
        new = ahead @ cosines
        new += cosines
        new *= -step
        new += ahead
        np.maximum(new, 0.0, out=new)
        next_weight = (1 + (1 + 4 * weight * weight) ** 0.5) / 2
        np.subtract(new, rows, out=ahead)
        ahead *= (weight - 1) / next_weight
        ahead += new
        rows, weight = new, next_weight
    above: Mask = rows > 0
    return above


def _solve_passive(cosines: Matrix, passive: Mask, targets: Rows) -> Rows:
    """Solve each row for its passive entries, which are packed to the left; all others are 0."""
    sizes = passive.sum(axis=1)
    rows = np.zeros_like(targets)
    widest = int(sizes.max())
    if not widest:
        return rows
    places = np.argsort(~passive, axis=1, kind="stable")[:, :widest]
    used = np.arange(widest) < sizes[:, None]
    parts = cosines[places[:, :, None], places[:, None, :]]
    parts *= used[:, :, None]
    parts *= used[:, None, :]
    parts.reshape(len(parts), -1)[:, :: widest + 1] += ~used
    right = np.take_along_axis(targets, places, axis=1) * used
    np.put_along_axis(rows, places, np.linalg.solve(parts, right[..., None])[..., 0], axis=1)
    return rows
