"""IMTL-G: equal projections onto all gradients."""

from __future__ import annotations

import numpy as np

from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector
from ._spectrum import equal_angles


class IMTLG(CosineBalancer):
    """Take the direction with equal projections onto all gradients, with weights that add up to 1.

    Reference: Liu et al., "Towards impartial multi-task learning", ICLR 2021. The direction is that of C+ 1, with the cosines C
    and the pseudo-inverse for gradients that depend on each other; `ConFIG` takes the same direction or the opposite one.

    Weights can be negative. If they add up to about zero before they are scaled, they become huge; if to less than zero, the
    direction makes *every* task worse. Both happen with few shared parameters or nearly dependent gradients; `ConFIG` and
    `NashMTL` do not have this flaw. If there is no such direction, all weights are 0.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        >>> weights = IMTLG()(gradients @ gradients.T)
        >>> weights, weights @ gradients
        (tensor([0.2500, 0.7500]), tensor([0.7500, 0.7500]))
    """

    def coefficients(self, gradients: Geometry) -> Vector:
        """Scale the coefficients so that the weights add up to 1."""
        coefficients, _ = equal_angles(gradients)
        weights = coefficients / gradients.norms
        total = float(weights.sum())
        nothing = abs(total) <= np.finfo(np.float64).eps * float(np.abs(weights).sum())
        return np.zeros_like(weights) if nothing else coefficients / total
