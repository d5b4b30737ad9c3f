"""Projections of many vectors onto one cone, side by side."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ._geometry import Matrix
from ._nonnegative import FIRM, ROUNDING, firmed, nonnegative

_FEW = 12
"""Tasks up to which the first guess is good enough."""
_ROUNDS = 12

Rows = Float64[np.ndarray, "rows tasks"]
Numbers = Int64[np.ndarray, " _"]
Mask = Bool[np.ndarray, "rows tasks"]


def projected(cosines: Matrix, noise: float) -> Matrix:
    """Project each unit gradient onto the directions that make no task worse.

    In row k, the least that is added to unit gradient k: z that minimises z.C.z / 2 + C[k].z over z >= 0. All rows pivot
    at once, as `nonnegative` does for one; their first guess is that of some steps of projected gradient descent, which costs
    much less than a round.

    Args:
        cosines: Cosines C between the gradients.
        noise: How far eigenvalues of C can be from the true ones.

    Returns:
        Coefficients z, a row for each gradient.
    """
    added, todo = np.zeros_like(cosines), np.arange(len(cosines))
    passive = _guess(cosines)
    for by in (ROUNDING * len(cosines), max(noise, FIRM)):
        todo = _pivoted(firmed(cosines, by), passive, added, todo)
    for number in todo.tolist():
        added[number] = nonnegative(cosines, -cosines[number], noise)
    return added.clip(min=0.0)


def _pivoted(firm: Matrix, passive: Mask, added: Rows, todo: Numbers) -> Numbers:
    """Exchange all entries that break a condition, in place, and give the rows that still have some."""
    for _ in range(_ROUNDS):
        if not len(todo):
            break
        rows = _solved(firm, passive[todo], -firm[todo])
        lack = rows @ firm
        lack += firm[todo]
        slack = ROUNDING * len(firm) * (1 + rows.max(axis=1, keepdims=True))
        wrong = np.where(passive[todo], rows < -slack, lack < -slack)
        added[todo] = rows
        passive[todo] ^= wrong
        todo = todo[wrong.any(axis=1)]
    return todo


def _guess(cosines: Matrix) -> Mask:
    """Guess which entries are above zero."""
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
        following = (1 + (1 + 4 * weight * weight) ** 0.5) / 2
        np.subtract(new, rows, out=ahead)
        ahead *= (weight - 1) / following
        ahead += new
        rows, weight = new, following
    above: Mask = rows > 0
    return above


def _solved(firm: Matrix, passive: Mask, targets: Rows) -> Rows:
    """Solve each row for its passive entries, which are packed to the left; all others are 0."""
    sizes = passive.sum(axis=1)
    rows = np.zeros_like(targets)
    widest = int(sizes.max())
    if not widest:
        return rows
    places = np.argsort(~passive, axis=1, kind="stable")[:, :widest]
    live = np.arange(widest) < sizes[:, None]
    parts = firm[places[:, :, None], places[:, None, :]]
    parts *= live[:, :, None]
    parts *= live[:, None, :]
    parts.reshape(len(parts), -1)[:, :: widest + 1] += ~live
    right = np.take_along_axis(targets, places, axis=1) * live
    np.put_along_axis(rows, places, np.linalg.solve(parts, right[..., None])[..., 0], axis=1)
    return rows
