"""The eigenvalues of the cosines, and directions computed from them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from ._geometry import Geometry, Vector

Columns = Float64[np.ndarray, "tasks rank"]


def spectrum(gradients: Geometry) -> tuple[Float64[np.ndarray, " rank"], Columns]:
    """Return the eigenvalues of the cosines that are above the noise, and their eigenvectors."""
    values, vectors = np.linalg.eigh(gradients.cosines)
    significant = values > gradients.noise
    return values[significant], vectors[:, significant]


def equal_angles(gradients: Geometry) -> tuple[Vector, Vector]:
    """Find a direction with equal inner products with all unit gradients: C+ 1, the pseudo-inverse times ones.

    Returns:
        Coefficients of the unit gradients, and the inner products: ones if there is such a direction, else as near to ones as
        possible. All are zero if the inner products are not above the noise.
    """
    values, vectors = spectrum(gradients)
    parts = vectors.sum(axis=0)
    products = vectors @ parts
    if np.linalg.norm(products) <= gradients.noise * len(products):
        return np.zeros_like(products), np.zeros_like(products)
    return vectors @ (parts / values), products
