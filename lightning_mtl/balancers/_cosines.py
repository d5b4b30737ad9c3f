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

    This keeps solvers exact when norms are far apart, and makes every tolerance relative. The Gramian is read once, in float64
    on the CPU. A task whose gradient is zero is left out, with weight 1. If the Gramian is not finite, all tasks have weight 1:
    then the gradients are not finite either, and a gradient scaler can find it.
    """

    kept: ClassVar[dict[str, int]] = {}
    """Names of the buffers with one number for each task (1) or each pair of tasks (2); NaN means not known yet."""

    @abstractmethod
    def coefficients(self, gradients: Geometry) -> Vector:
        """Return the coefficients of the unit gradients.

        Args:
            gradients: Cosines and norms of at least one gradient.

        Returns:
            Coefficients a: the direction is the largest norm times the sum of a[k] times the unit gradient k.
        """

    def forward(
        self, gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None = None
    ) -> Float[Tensor, " present"]:
        """Return a weight for each task; see `GradientBalancer.forward`."""
        self._build_if_new(len(gramian), tasks)
        weights = torch.ones(len(gramian), dtype=torch.float64)
        gradients = geometry(gramian, tasks)
        if gradients is not None:
            weights.numpy()[gradients.there] = self.coefficients(gradients) / gradients.norms
        return weights.to(gramian.device, gramian.dtype)

    def build(self, names: Sequence[str]) -> None:
        """Create the buffers of these tasks; the numbers of tasks with the same name are kept."""
        common = [name for name in names if name in self.names]
        places, old_places = ([numbers.index(name) for name in common] for numbers in (tuple(names), self.names))
        for name, dims in self.kept.items():
            old = getattr(self, name, torch.empty((0,) * dims))
            new = old.new_full((len(names),) * dims, torch.nan)
            new[np.ix_(*[places] * dims)] = old[np.ix_(*[old_places] * dims)]
            self.register_buffer(name, new)
        super().build(names)
