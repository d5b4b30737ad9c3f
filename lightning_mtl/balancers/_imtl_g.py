"""Equal projections on all gradients."""

from __future__ import annotations

import numpy as np

from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector
from ._spectrum import equal_angles


class IMTLG(CosineBalancer):
    """Go in the direction of equal projections on all gradients, with weights that add up to 1.

    Reference: Liu et al., "Towards impartial multi-task learning", ICLR 2021. The weights are those of C+ 1, with the
    cosines C and the pseudo-inverse for gradients that depend on each other; `ConFIG` goes the same way or the opposite.

    Nothing keeps the weights above zero. Where they would add up to about zero before they are scaled, they become huge; where
    to less than zero, the direction makes *every* task worse. Both happen with few shared parameters or gradients that are
    nearly dependent; `ConFIG` and `NashMTL` do not have this flaw. Gradients without any such direction get weights of 0.

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
