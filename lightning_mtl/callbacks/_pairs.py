"""Similarities of pairs of gradients, and their running means."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def cosines(gramian: Float[Tensor, "*steps tasks tasks"]) -> Float[Tensor, "*steps tasks tasks"]:
    """Return the cosine of each pair of gradients; NaN where one of them is zero.

    Args:
        gramian: Inner products of the gradients.
    """
    gramian = (gramian + gramian.mT) / 2  # rounding may differ below and above the diagonal
    norms = gramian.diagonal(dim1=-2, dim2=-1).sqrt()
    return (gramian / (norms.unsqueeze(-1) * norms.unsqueeze(-2))).clamp(-1, 1)


def magnitude_similarities(gramian: Float[Tensor, "*steps tasks tasks"]) -> Float[Tensor, "*steps tasks tasks"]:
    """Return 2 n_i n_j / (n_i^2 + n_j^2) for each pair of gradients with norms n (Yu et al., "Gradient surgery", NeurIPS 2020).

    It is 1 where norms are equal, and near 0 where one is much larger; NaN where both are zero.

    Args:
        gramian: Inner products of the gradients.
    """
    squares = gramian.diagonal(dim1=-2, dim2=-1)
    norms = squares.sqrt()
    products = norms.unsqueeze(-1) * norms.unsqueeze(-2)
    return 2 * products / (squares.unsqueeze(-1) + squares.unsqueeze(-2))


class PairMeans:
    """Running means of quantities of pairs, without values that are NaN.

    Args:
        shape: The number of tasks, twice; before them the number of quantities, if there are several.
    """

    def __init__(self, *shape: int) -> None:
        self._sums = torch.zeros(3, *shape, dtype=torch.float64)

    @property
    def counts(self) -> Tensor:
        """How often each pair was measured."""
        return self._sums[0]

    def add(self, values: Float[Tensor, "steps *quantities tasks tasks"]) -> None:
        """Add measurements.

        Args:
            values: The quantities of each pair in each measurement.
        """
        known = values.isfinite()
        values = values.double().where(known, 0.0)
        self._sums += torch.stack([known.sum(0).double(), values.sum(0), values.square().sum(0)])

    def mean(self) -> Tensor:
        """Return the means; NaN for a pair that was never measured."""
        return self._sums[1] / self._sums[0]

    def error(self) -> Tensor:
        """Return the standard errors of the means; NaN for a pair that was measured less than twice."""
        counts, sums, squares = self._sums
        variance = (squares - sums.square() / counts).clamp_min(0) / (counts - 1)
        error: Tensor = (variance / counts).sqrt()
        return error.where(counts > 1, torch.nan)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums."""
        return {"sums": self._sums.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the sums.

        Args:
            state: What `state_dict` returned.
        """
        self._sums = state["sums"].to("cpu", torch.float64, copy=True)
