"""What a Gramian says of the gradients: their cosines and norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

Vector = Float64[np.ndarray, " tasks"]
Matrix = Float64[np.ndarray, "tasks tasks"]
_COARSEST = 1e-3


@dataclass(slots=True)
class Geometry:
    """Cosines and norms of the gradients that are not zero, in float64 on the CPU.

    Args:
        cosines: Cosines between them; ones on the diagonal.
        norms: Their norms, over the largest.
        unit: The largest norm.
        noise: How far eigenvalues of `cosines` can be from the true ones, as the Gramian was rounded.
        tasks: Numbers of their tasks.
        there: Which of the rows of the Gramian they are.
    """

    cosines: Matrix
    norms: Vector
    unit: float
    noise: float
    tasks: Sequence[int]
    there: Bool[np.ndarray, " present"]

    def norm(self, coefficients: Vector) -> float:
        """Compute the norm of the sum of the unit gradients times these coefficients."""
        return float(np.sqrt(max(coefficients @ self.cosines @ coefficients, 0.0)))


def geometry(gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None) -> Geometry | None:
    """Read a Gramian; None if it is not finite, or all gradients are zero."""
    matrix = gramian.detach().to("cpu", torch.float64).numpy()
    norms = np.sqrt(np.maximum(matrix.diagonal(), 0.0))
    unit = float(norms.max(initial=0.0))
    if not (unit > 0 and np.isfinite(matrix).all()):
        return None
    there = norms > 0
    numbers = range(len(norms)) if tasks is None else tasks
    if not there.all():
        matrix, norms = matrix[there][:, there], norms[there]
        numbers = [number for number, is_there in zip(numbers, there.tolist(), strict=True) if is_there]
    inverse = 1 / norms
    cosines = np.clip(matrix * inverse * inverse[:, None], -1.0, 1.0)
    np.fill_diagonal(cosines, 1.0)
    noise = min(4 * len(norms) * torch.finfo(gramian.dtype).eps, _COARSEST)
    return Geometry(cosines, norms / unit, unit, noise, numbers, there)
