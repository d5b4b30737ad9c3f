"""UPGrad: the mean of the gradients, each projected out of conflict."""

from __future__ import annotations

from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector
from ._projections import projected


class UPGrad(CosineBalancer):
    """Project each gradient onto the directions that make no task worse, and take the mean.

    No task conflicts with the direction, and the direction scales in proportion with each gradient. Reference: Quinton and Rey,
    "Jacobian descent for multi-objective optimization", 2024. The projections are exact: no regularisation is added to the
    Gramian, so there is no conflict either between gradients of very different norms.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[1.0, 2.0, -0.5], [-1.5, 0.3, 0.8]])
        >>> UPGrad()(gradients @ gradients.T)
        tensor([0.6238, 0.7181])
    """

    def coefficients(self, gradients: Geometry) -> Vector:
        """Add to each gradient the shortest vector that removes its conflicts."""
        norms = gradients.norms
        total: Vector = (norms + norms @ projected(gradients.cosines, gradients.noise)) / len(norms)
        return total
