"""Figures of pairs of tasks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def cosines(gramian: Float[Tensor, "*looks tasks tasks"]) -> Float[Tensor, "*looks tasks tasks"]:
    """Give the cosine between each two tasks' gradients; NaN where one of them is zero.

    Args:
        gramian: Inner products of the gradients.
    """
    gramian = (gramian + gramian.mT) / 2  # a product of matrices may round otherwise below the diagonal than above
    norms = gramian.diagonal(dim1=-2, dim2=-1).sqrt()
    return (gramian / (norms.unsqueeze(-1) * norms.unsqueeze(-2))).clamp(-1, 1)


def magnitude_similarities(gramian: Float[Tensor, "*looks tasks tasks"]) -> Float[Tensor, "*looks tasks tasks"]:
    """Give 2 n_i n_j / (n_i^2 + n_j^2) of each two tasks' norms (Yu et al., "Gradient surgery", NeurIPS 2020).

    It is 1 where norms are equal, and near 0 where one is much larger; NaN where both are zero.

    Args:
        gramian: Inner products of the gradients.
    """
    squares = gramian.diagonal(dim1=-2, dim2=-1)
    norms = squares.sqrt()
    products = norms.unsqueeze(-1) * norms.unsqueeze(-2)
    return 2 * products / (squares.unsqueeze(-1) + squares.unsqueeze(-2))


class PairMeans:
    """Running means of figures of pairs; what is NaN is left out.

    Args:
        shape: Number of tasks, twice; before them that of figures, if there are several.
    """

    def __init__(self, *shape: int) -> None:
        self._sums = torch.zeros(3, *shape, dtype=torch.float64)

    @property
    def counts(self) -> Tensor:
        """How often each pair was looked at."""
        return self._sums[0]

    def add(self, values: Float[Tensor, "looks *figures tasks tasks"]) -> None:
        """Take in some looks.

        Args:
            values: Figures of each pair in each look.
        """
        known = values.isfinite()
        values = values.double().where(known, 0.0)
        self._sums += torch.stack([known.sum(0).double(), values.sum(0), values.square().sum(0)])

    def mean(self) -> Tensor:
        """Average over the looks; NaN for a pair that was never looked at."""
        return self._sums[1] / self._sums[0]

    def error(self) -> Tensor:
        """Give the standard errors of the means; NaN for a pair that was looked at less than twice."""
        counts, sums, squares = self._sums
        variance = (squares - sums.square() / counts).clamp_min(0) / (counts - 1)
        error: Tensor = (variance / counts).sqrt()
        return error.where(counts > 1, torch.nan)

    def state_dict(self) -> dict[str, Tensor]:
        """Give what was added up."""
        return {"sums": self._sums.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on with what was added up before.

        Args:
            state: What `state_dict` gave.
        """
        self._sums = state["sums"].to("cpu", torch.float64, copy=True)
