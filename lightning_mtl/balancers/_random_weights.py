"""Random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require
from ._base import LossBalancer
from ._generator import generator, require_seed


class RandomWeights(LossBalancer):
    """Draw new weights that add up to 1 in every step: a baseline that other methods have to beat.

    They depend only on the seed and the step, so all ranks draw the same weights, and so does a resumed run. Reference: Lin
    et al., "Reasonable effectiveness of random weighting: a litmus test for multi-task learning", TMLR 2022.

    Args:
        distribution: "normal" is the softmax of standard normal numbers, "dirichlet" is uniform on the simplex.
        seed: Seed of the weights. Default: the seed of `lightning.seed_everything`, or 0.

    Raises:
        ValueError: `distribution` is unknown.

    Example:
        >>> import torch
        >>> balancer = RandomWeights(seed=1)
        >>> balancer.observe(torch.ones(3), step=5, epoch=0)
        >>> round(balancer(torch.ones(3)).item(), 4)
        1.0
    """

    random = True

    def __init__(self, distribution: Literal["normal", "dirichlet"] = "normal", seed: int | None = None) -> None:
        super().__init__()
        known = distribution in ("normal", "dirichlet")
        require(known, "distribution", "'normal' or 'dirichlet'", distribution, "The paper finds them alike.")
        require_seed(seed)
        self.distribution, self.seed = distribution, seed

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Return the weighted sum of the losses."""
        losses, _ = self.present(losses, tasks)
        weights = self._draw() if tasks is None else self._draw()[list(tasks)]
        return (weights / weights.sum()).to(losses, non_blocking=True) @ losses

    def _draw(self) -> Float[Tensor, " tasks"]:
        """Draw numbers for all tasks, on the CPU; absent tasks do not change those of the others."""
        random, empty = generator(self.drawn_by(), self.step), torch.empty(len(self.names))
        return (
            empty.normal_(generator=random).exp()
            if self.distribution == "normal"
            else empty.exponential_(generator=random)
        )
