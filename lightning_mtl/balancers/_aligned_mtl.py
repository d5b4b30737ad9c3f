"""Aligned-MTL: gradients are made orthogonal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

from .._checks import require
from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector
from ._spectrum import spectrum

Mode = Literal["min", "median", "rmse"]
_SCALES: dict[str, Callable[[Float64[np.ndarray, " rank"]], float]] = {
    "min": lambda singular: float(singular[-1]),
    "median": lambda singular: float(singular[len(singular) // 2]),  # the lower one of two, as they fall
    "rmse": lambda singular: float(np.sqrt(np.mean(singular**2))),
}


class AlignedMTL(CosineBalancer):
    """Make the gradients orthogonal and equally long, and take their mean: all singular values of their matrix become equal.

    Reference: Senushkin et al., "Independent component alignment for multi-task learning", CVPR 2023, algorithm 1, with uniform
    preferences. If gradients depend on each other, some singular values are zero; only those above zero count.

    Args:
        mode: The common singular value: the smallest ("min", as in the paper), the median (the lower one of two), or the root
            of the mean square ("rmse").

    Raises:
        ValueError: `mode` is unknown.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        >>> AlignedMTL()(gradients @ gradients.T) @ gradients
        tensor([0.5000, 0.5000])
    """

    def __init__(self, mode: Mode = "min") -> None:
        super().__init__()
        require(mode in get_args(Mode), "mode", f"one of {get_args(Mode)}", mode, "The paper has 'min'.")
        self.mode = mode

    def coefficients(self, gradients: Geometry) -> Vector:
        """Replace the singular values of a factor of the Gramian; they are more exact than those of the Gramian."""
        values, vectors = spectrum(gradients)
        factor = gradients.norms[:, None] * vectors * np.sqrt(values)
        left, singular, _ = np.linalg.svd(factor, full_matrices=False)
        weights = left @ (left.mean(axis=0) * (_SCALES[self.mode](singular) / singular))
        aligned: Vector = weights * gradients.norms
        return aligned
