"""MGDA: the shortest convex combination of the gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor

from .._checks import require
from ._cosines import CosineBalancer
from ._geometry import Geometry, Matrix, Vector
from ._nonnegative import nonnegative

Normalization = Literal["none", "l2", "loss", "loss+"]


class MGDA(CosineBalancer):
    """Take the shortest convex combination of the gradients, so that no task gets worse: min |sum of w[k] g[k] / s[k]|.

    w lies on the simplex. An active-set method finds the exact minimum; the Frank-Wolfe steps of the papers end near it. The
    smallest gradient has the most influence; if gradients cancel out, the direction is zero. References: Désidéri,
    "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", Comptes Rendus Mathématique 2012; Sener and
    Koltun, "Multi-task learning as multi-objective optimization", NeurIPS 2018, equation 3 and the normalizations of its code.

    Args:
        normalization: The scales s[k]: 1 ("none"), the norm of gradient k ("l2"), the loss of task k ("loss"), or their product
            ("loss+"). A loss that is unknown or not finite counts as 1.

    Raises:
        ValueError: `normalization` is unknown; from `forward`: it divides by losses, and one is not above 0.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[1.0, 2.0, -0.5], [-1.5, 0.3, 0.8]])
        >>> MGDA()(gradients @ gradients.T)
        tensor([0.3952, 0.6048])
    """

    kept: ClassVar[dict[str, int]] = {"losses": 1}
    losses: Tensor

    def __init__(self, normalization: Normalization = "none") -> None:
        super().__init__()
        known = get_args(Normalization)
        require(normalization in known, "normalization", f"one of {known}", normalization, "The paper has 'loss+'.")
        self.normalization = normalization

    def observe(
        self, losses: Float[Tensor, " present"], step: int, epoch: int, tasks: Sequence[int] | None = None
    ) -> None:
        """Keep the losses, which are part of the scales."""
        super().observe(losses, step, epoch, tasks)
        self._build_if_new(len(losses), tasks)
        self.losses[slice(None) if tasks is None else list(tasks)] = losses.to(self.losses)

    def coefficients(self, gradients: Geometry) -> Vector:
        """Return the shortest convex combination of the gradients divided by their scales."""
        scales = self._scales(gradients)
        shortest_sum = shortest(gradients.cosines, gradients.norms / scales, gradients.noise)
        return shortest_sum / gradients.unit ** int(self._divides_by_norms())

    def _divides_by_norms(self) -> bool:
        return self.normalization in ("l2", "loss+")

    def _scales(self, gradients: Geometry) -> Vector:
        scales = gradients.norms if self._divides_by_norms() else np.ones_like(gradients.norms)
        if "loss" not in self.normalization:
            return scales
        losses = self.losses.numpy(force=True).astype(np.float64)[list(gradients.tasks)]
        losses = np.where(np.isfinite(losses), losses, 1.0)
        lowest = float(losses.min())
        require(lowest > 0, "losses", "above 0 to divide gradients by them", lowest, "Use normalization='l2'.")
        return scales * losses


def shortest(cosines: Matrix, lengths: Vector, noise: float) -> Vector:
    """Return the shortest convex combination of vectors.

    With b = 1 / lengths, the minimum of a.C.a over a >= 0, b.a = 1 is a multiple of the minimum of a.(C + b b).a / 2 - b.a over
    a >= 0, which is always bounded.

    Args:
        cosines: Cosines between the vectors.
        lengths: Their lengths.
        noise: Largest error of the eigenvalues of `cosines`.

    Returns:
        Its coefficients of the unit vectors.
    """
    inverse = lengths.min() / lengths
    x = nonnegative(cosines + inverse * inverse[:, None], inverse, noise)
    return x / float(x @ inverse) * float(lengths.min())
