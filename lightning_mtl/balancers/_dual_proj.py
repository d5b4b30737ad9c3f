"""DualProj: the projection of the mean gradient onto directions without conflict."""

from __future__ import annotations

from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector
from ._nonnegative import nonnegative


class DualProj(CosineBalancer):
    """Project the mean of the gradients onto the directions that make no task worse: min |d - mean|, g[k].d >= 0 for all k.

    The projection is exact. Reference: Quinton and Rey, "Jacobian descent for multi-objective optimization", 2024.
    It is the step of Lopez-Paz and Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017, with the mean
    instead of the gradient of the current task.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[4.0, 0.0], [-2.0, 1.0]])
        >>> weights = DualProj()(gradients @ gradients.T)
        >>> gradients @ (weights @ gradients) >= -1e-6
        tensor([True, True])
    """

    def coefficients(self, gradients: Geometry) -> Vector:
        """Add to the mean the shortest vector that removes all conflicts."""
        mean = gradients.norms / len(gradients.norms)
        added = nonnegative(gradients.cosines, -(gradients.cosines @ mean), gradients.noise)
        direction: Vector = mean + added
        return direction
