"""Quadratic programs over what is not negative."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from numpy.linalg import LinAlgError, solve

from ._geometry import Matrix, Vector

ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""An error of float64, some times over."""
FIRM = 1e-10
"""What makes a matrix of cosines surely positive definite."""
_TRIES = 3


def nonnegative(matrix: Matrix, target: Vector, noise: float) -> Vector:
    """Minimise x.M.x / 2 - target.x over x >= 0, where M is positive semidefinite and ones, or about that, on its diagonal.

    By block principal pivoting (Júdice and Pires, "A block principal pivoting algorithm for large-scale strictly monotone
    linear complementarity problems", Computers and Operations Research 1994): exact, and a few solves. Where rounding keeps it
    from ending, since vectors depend on each other, the diagonal is raised, and at last the slower active-set
    method of Lawson and Hanson always ends.

    Args:
        matrix: M.
        target: The linear part.
        noise: How far eigenvalues of M can be from the true ones.
    """
    firmer = max(noise, FIRM)
    for by in (ROUNDING * len(target), firmer):
        x = _by_pivots(firmed(matrix, by), target)
        if x is not None:
            return x
    return _by_active_set(firmed(matrix, firmer), target)


def _by_pivots(matrix: Matrix, target: Vector) -> Vector | None:
    """Exchange all entries that break a condition at once, or just one if that leads nowhere; None if neither does."""
    passive = target > 0
    best, tries = len(target) + 1, _TRIES
    for _ in range(10 + len(target)):
        try:
            x = solved(matrix, target, passive)
        except LinAlgError:
            return None
        wrong = infeasible(matrix, target, passive, x)
        count = int(np.count_nonzero(wrong))
        if not count:
            return x.clip(min=0.0)
        tries = _TRIES if count < best else tries - 1
        best = min(best, count)
        passive ^= wrong if tries >= 0 else _last(wrong)
    return None


def firmed(matrix: Matrix, by: float) -> Matrix:
    """Raise the diagonal, so that rounding makes no system singular."""
    firm = matrix.copy()
    firm.ravel()[:: len(matrix) + 1] += by
    return firm


def solved(matrix: Matrix, target: Vector, passive: Bool[np.ndarray, " tasks"]) -> Vector:
    """Solve for the passive entries; all others are 0."""
    x, places = np.zeros_like(target), np.flatnonzero(passive)
    x[places] = solve(matrix[places[:, None], places], target[places])
    return x


def infeasible(
    matrix: Matrix, target: Vector, passive: Bool[np.ndarray, " tasks"], x: Vector
) -> Bool[np.ndarray, " tasks"]:
    """Find entries that break the conditions of optimality: negative ones, and zeros along which it would fall."""
    lack = target - matrix @ x
    size = float(np.abs(x).max(initial=0.0))
    slack = ROUNDING * len(target) * (size + float(np.abs(target).max(initial=0.0)))
    return np.where(passive, x < -ROUNDING * size, lack > slack)


def _last(wrong: Bool[np.ndarray, " tasks"]) -> Bool[np.ndarray, " tasks"]:
    """Keep the last that is wrong: one pivot at a time never runs in circles."""
    only = np.zeros_like(wrong)
    only[np.flatnonzero(wrong)[-1]] = True
    return only


def _by_active_set(matrix: Matrix, target: Vector) -> Vector:
    """Add one entry at a time, along which it falls most; go towards the solution as far as all stay positive."""
    x, passive = np.zeros_like(target), np.zeros(len(target), dtype=bool)
    refused = passive.copy()
    for _ in range(5 * len(target)):
        fall = np.where(passive | refused, -np.inf, target - matrix @ x)
        place = int(fall.argmax())
        if fall[place] <= ROUNDING * len(target) * (np.abs(x).max() + np.abs(target).max()):
            break
        passive[place] = True
        x = _towards(matrix, target, passive, x)
        refused = refused & False if passive[place] else refused
        refused[place] = not passive[place]
    return x


def _towards(matrix: Matrix, target: Vector, passive: Bool[np.ndarray, " tasks"], x: Vector) -> Vector:
    """Solve for the passive entries, and make those active, in place, that would not stay positive."""
    while True:
        goal = solved(matrix, target, passive)
        falling = np.flatnonzero(passive & (goal <= 0))
        if not len(falling):
            return goal
        steps = x[falling] / (x[falling] - goal[falling])
        x = x + float(steps.min()) * (goal - x)
        passive[falling[steps <= steps.min()]] = False
        x = np.where(passive, x, 0.0)
