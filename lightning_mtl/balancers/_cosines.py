"""Balancers that work on cosines and norms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ._base import GradientBalancer
from ._geometry import Geometry, Vector, geometry


class CosineBalancer(GradientBalancer):
    """Balances by the cosines between the gradients and by their norms.

    So norms that are far apart spoil no solver, and every tolerance is relative. The Gramian is read once, in float64 on the
    CPU; a task whose gradient is zero leaves the problem, with weight 1. So do all tasks where the Gramian is not finite: then
    the gradients aren't either, and whatever looks for that (a gradient scaler) finds it.
    """

    kept: ClassVar[dict[str, int]] = {}
    """Names of the buffers with numbers of tasks (1) or of pairs of tasks (2); NaN is not known yet."""

    @abstractmethod
    def coefficients(self, gradients: Geometry) -> Vector:
        """Weigh the unit gradients.

        Args:
            gradients: Cosines and norms, of one gradient at least.

        Returns:
            Coefficients a, so that the direction is the largest norm times the sum of a[k] times the unit gradient k.
        """

    def forward(
        self, gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None = None
    ) -> Float[Tensor, " present"]:
        """Weigh the tasks, as `GradientBalancer.forward` says."""
        self._begins(len(gramian), tasks)
        weights = torch.ones(len(gramian), dtype=torch.float64)
        gradients = geometry(gramian, tasks)
        if gradients is not None:
            weights.numpy()[gradients.there] = self.coefficients(gradients) / gradients.norms
        return weights.to(gramian.device, gramian.dtype)

    def build(self, names: Sequence[str]) -> None:
        """Make what is kept of these tasks; numbers of tasks of the same name stay."""
        stay = [name for name in names if name in self.names]
        places, was = ([numbers.index(name) for name in stay] for numbers in (tuple(names), self.names))
        for name, dims in self.kept.items():
            old = getattr(self, name, torch.empty((0,) * dims))
            new = old.new_full((len(names),) * dims, torch.nan)
            new[np.ix_(*[places] * dims)] = old[np.ix_(*[was] * dims)]
            self.register_buffer(name, new)
        super().build(names)
