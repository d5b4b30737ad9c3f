"""The shortest convex combination of gradients."""

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
    """Go along the shortest convex combination of the gradients, so that no task gets worse: min |sum of w[k] g[k] / s[k]|.

    w is on the simplex; it is the exact minimum, by an active set, where the papers' Frank-Wolfe steps stop near it. The
    smallest gradient decides most; where gradients cancel out, the direction is zero. References: Désidéri, "Multiple-gradient
    descent algorithm (MGDA) for multiobjective optimization", Comptes Rendus Mathématique 2012; Sener and Koltun, "Multi-task
    learning as multi-objective optimization", NeurIPS 2018, equation 3 and the normalizations of its code.

    Args:
        normalization: What s[k] is: 1 ("none"), the norm of gradient k ("l2"), the loss of task k ("loss"), or their product
            ("loss+"). A loss that is not known or not finite counts as 1.

    Raises:
        ValueError: There is no such normalization; from `forward`: it takes losses, and one is not above 0.

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
        """Keep the losses, by which gradients may be divided."""
        super().observe(losses, step, epoch, tasks)
        self._begins(len(losses), tasks)
        self.losses[slice(None) if tasks is None else list(tasks)] = losses.to(self.losses)

    def coefficients(self, gradients: Geometry) -> Vector:
        """Find the shortest combination of the gradients over their scales."""
        scales = self._scales(gradients)
        return shortest(gradients.cosines, gradients.norms / scales, gradients.noise) / gradients.unit ** self._powers()

    def _powers(self) -> int:
        return int(self.normalization in ("l2", "loss+"))

    def _scales(self, gradients: Geometry) -> Vector:
        scales = gradients.norms if self._powers() else np.ones_like(gradients.norms)
        if "loss" not in self.normalization:
            return scales
        losses = self.losses.numpy(force=True).astype(np.float64)[list(gradients.tasks)]
        losses = np.where(np.isfinite(losses), losses, 1.0)
        lowest = float(losses.min())
        require(lowest > 0, "losses", "above 0 to divide gradients by them", lowest, "Use normalization='l2'.")
        return scales * losses


def shortest(cosines: Matrix, lengths: Vector, noise: float) -> Vector:
    """Find the shortest convex combination of vectors.

    With b = 1 / lengths, the minimum of a.C.a over a >= 0, b.a = 1 is a multiple of that of a.(C + b b).a / 2 - b.a over
    a >= 0, which is never unbounded.

    Args:
        cosines: Cosines between the vectors.
        lengths: Their lengths.
        noise: How far eigenvalues of `cosines` can be from the true ones.

    Returns:
        Its coefficients in the unit vectors.
    """
    inverse = lengths.min() / lengths
    x = nonnegative(cosines + inverse * inverse[:, None], inverse, noise)
    return x / float(x @ inverse) * float(lengths.min())
