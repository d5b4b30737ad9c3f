"""Quadratic programs over nonnegative vectors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from numpy.linalg import LinAlgError, solve

from ._geometry import Matrix, Vector

ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""A few times the relative error of float64."""
RIDGE = 1e-10
"""Added to the diagonal of a matrix of cosines, it makes the matrix positive definite for certain."""
_TRIES = 3


def nonnegative(matrix: Matrix, target: Vector, noise: float) -> Vector:
    """Minimise x.M.x / 2 - target.x over x >= 0, where M is positive semidefinite with a diagonal of about 1.

    By block principal pivoting (Júdice and Pires, "A block principal pivoting algorithm for large-scale strictly monotone
    linear complementarity problems", Computers and Operations Research 1994), which is exact and needs a few solves. With
    vectors that depend on each other, rounding can keep it from ending. Then the diagonal is raised, and at last the slower
    active-set method of Lawson and Hanson is used, which always ends.

    Args:
        matrix: M.
        target: The linear part.
        noise: Largest error of the eigenvalues of M.
    """
    ridge = max(noise, RIDGE)
    for by in (ROUNDING * len(target), ridge):
        x = _by_pivots(raise_diagonal(matrix, by), target)
        if x is not None:
            return x
    return _by_active_set(raise_diagonal(matrix, ridge), target)


def _by_pivots(matrix: Matrix, target: Vector) -> Vector | None:
    """Exchange all infeasible entries at once, or only one if that does not help; None if neither ends."""
    passive = target > 0
    best, tries = len(target) + 1, _TRIES
    for _ in range(10 + len(target)):
        try:
            x = _solve_passive(matrix, target, passive)
        except LinAlgError:
            return None
        wrong = _infeasible(matrix, target, passive, x)
        count = int(np.count_nonzero(wrong))
        if not count:
            return x.clip(min=0.0)
        tries = _TRIES if count < best else tries - 1
        best = min(best, count)
        passive ^= wrong if tries >= 0 else _only_last(wrong)
    return None


def raise_diagonal(matrix: Matrix, by: float) -> Matrix:
    """Add a number to the diagonal, so that rounding makes no system singular."""
    raised = matrix.copy()
    raised.ravel()[:: len(matrix) + 1] += by
    return raised


def _solve_passive(matrix: Matrix, target: Vector, passive: Bool[np.ndarray, " tasks"]) -> Vector:
    """Solve for the passive entries; all others are 0."""
    x, places = np.zeros_like(target), np.flatnonzero(passive)
    x[places] = solve(matrix[places[:, None], places], target[places])
    return x


def _infeasible(
    matrix: Matrix, target: Vector, passive: Bool[np.ndarray, " tasks"], x: Vector
) -> Bool[np.ndarray, " tasks"]:
    """Mark the entries that break the optimality conditions: negative ones, and zeros that should grow."""
    descent = target - matrix @ x
    size = float(np.abs(x).max(initial=0.0))
    slack = ROUNDING * len(target) * (size + float(np.abs(target).max(initial=0.0)))
    return np.where(passive, x < -ROUNDING * size, descent > slack)


def _only_last(wrong: Bool[np.ndarray, " tasks"]) -> Bool[np.ndarray, " tasks"]:
    """Keep only the last infeasible entry: one pivot at a time never cycles."""
    only = np.zeros_like(wrong)
    only[np.flatnonzero(wrong)[-1]] = True
    return only


def _by_active_set(matrix: Matrix, target: Vector) -> Vector:
    """Add the entry of steepest descent, one at a time, and go towards the solution while all entries stay positive."""
    x, passive = np.zeros_like(target), np.zeros(len(target), dtype=bool)
    refused = passive.copy()
    for _ in range(5 * len(target)):
        descent = np.where(passive | refused, -np.inf, target - matrix @ x)
        place = int(descent.argmax())
        if descent[place] <= ROUNDING * len(target) * (np.abs(x).max() + np.abs(target).max()):
            break
        passive[place] = True
        x = _towards(matrix, target, passive, x)
        refused = refused & False if passive[place] else refused
        refused[place] = not passive[place]
    return x


def _towards(matrix: Matrix, target: Vector, passive: Bool[np.ndarray, " tasks"], x: Vector) -> Vector:
    """Solve for the passive entries, and remove from `passive`, in place, those that would not stay positive."""
    while True:
        goal = _solve_passive(matrix, target, passive)
        falling = np.flatnonzero(passive & (goal <= 0))
        if not len(falling):
            return goal
        steps = x[falling] / (x[falling] - goal[falling])
        x = x + float(steps.min()) * (goal - x)
        passive[falling[steps <= steps.min()]] = False
        x = np.where(passive, x, 0.0)
