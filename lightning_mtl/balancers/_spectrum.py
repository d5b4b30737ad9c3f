"""What needs the eigenvalues of the cosines."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from ._geometry import Geometry, Vector

Columns = Float64[np.ndarray, "tasks rank"]


def spectrum(gradients: Geometry) -> tuple[Float64[np.ndarray, " rank"], Columns]:
    """Give the eigenvalues of the cosines that rounding cannot explain, and their vectors."""
    values, vectors = np.linalg.eigh(gradients.cosines)
    true = values > gradients.noise
    return values[true], vectors[:, true]


def equal_angles(gradients: Geometry) -> tuple[Vector, Vector]:
    """Look for a direction of equal inner products with all unit gradients: C+ 1, the pseudo-inverse times ones.

    Returns:
        Coefficients of the unit gradients, and the inner products: ones, if there is such a direction, else as near as can
        be. All zero where rounding alone could make them.
    """
    values, vectors = spectrum(gradients)
    parts = vectors.sum(axis=0)
    products = vectors @ parts
    if np.linalg.norm(products) <= gradients.noise * len(products):
        return np.zeros_like(products), np.zeros_like(products)
    return vectors @ (parts / values), products
