"""Cosines and norms of the gradients, computed from their Gramian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

Vector = Float64[np.ndarray, " tasks"]
Matrix = Float64[np.ndarray, "tasks tasks"]
_MAX_NOISE = 1e-3


@dataclass(slots=True)
class Geometry:
    """Cosines and norms of the gradients that are not zero, in float64 on the CPU.

    Args:
        cosines: Cosines between the gradients; ones on the diagonal.
        norms: Their norms, divided by the largest.
        unit: The largest norm.
        noise: Largest error of the eigenvalues of `cosines` that comes from the rounding of the Gramian.
        tasks: Numbers of their tasks.
        there: Mask of the rows of the Gramian that belong to them.
    """

    cosines: Matrix
    norms: Vector
    unit: float
    noise: float
    tasks: Sequence[int]
    there: Bool[np.ndarray, " present"]

    def norm(self, coefficients: Vector) -> float:
        """Return the norm of the sum of the unit gradients times these coefficients."""
        return float(np.sqrt(max(coefficients @ self.cosines @ coefficients, 0.0)))


def geometry(gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None) -> Geometry | None:
    """Return the geometry of a Gramian; None if it is not finite, or if all gradients are zero."""
    matrix = gramian.detach().to("cpu", torch.float64).numpy()
    norms = np.sqrt(np.maximum(matrix.diagonal(), 0.0))
    unit = float(norms.max(initial=0.0))
    if not (unit > 0 and np.isfinite(matrix).all()):
        return None
    there = norms > 0
    numbers = range(len(norms)) if tasks is None else tasks
    if not there.all():
        matrix, norms = matrix[there][:, there], norms[there]
        numbers = [number for number, nonzero in zip(numbers, there.tolist(), strict=True) if nonzero]
    inverse = 1 / norms
    cosines = np.clip(matrix * inverse * inverse[:, None], -1.0, 1.0)
    np.fill_diagonal(cosines, 1.0)
    noise = min(4 * len(norms) * torch.finfo(gramian.dtype).eps, _MAX_NOISE)
    return Geometry(cosines, norms / unit, unit, noise, numbers, there)
