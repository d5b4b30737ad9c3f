"""ConFIG: a direction of equal angles with all gradients."""

from __future__ import annotations

from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector
from ._spectrum import equal_angles


class ConFIG(CosineBalancer):
    """Take the direction of equal angles with all gradients, as long as the sum of their projections onto it.

    d = (sum of g[k].u) u, where u is the unit vector along U+ 1 and U has the unit gradients as rows. With the cosines C, u points
    along the sum of (C+ 1)[k] times unit gradient k. Reference: Liu, Chu and Thuerey, "ConFIG: towards conflict-free training of
    physics informed neural networks", ICLR 2025. Gradients that cancel out get weights of 0.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        >>> ConFIG()(gradients @ gradients.T) @ gradients
        tensor([2., 2.])
    """

    def coefficients(self, gradients: Geometry) -> Vector:
        """Scale the direction to the sum of the projections."""
        coefficients, products = equal_angles(gradients)
        square = float(coefficients @ products)
        length = float(gradients.norms @ products) / square if square > 0 else 0.0
        direction: Vector = coefficients * length
        return direction
