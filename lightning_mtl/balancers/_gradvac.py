"""Gradient Vaccine: angles between gradients are pulled towards their moving averages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .._checks import require, require_number
from ._cosines import CosineBalancer
from ._generator import require_seed
from ._geometry import Geometry, Matrix, Vector, geometry
from ._orders import Order, orders

_BELOW_ONE = 1 - 1e-8
_TINY = 1e-300
Passes = Float64[np.ndarray, "others tasks"]


class GradVac(CosineBalancer):
    """Raise the cosine of each gradient with every other one to its moving average, one after the other, and add up.

    If cos(g, h) < phi, g <- g + |g| (phi sqrt(1 - cos^2) - cos sqrt(1 - phi^2)) / (|h| sqrt(1 - phi^2)) h. Then phi <- (1 - beta) phi +
    beta cos, for each pair (g, h). phi starts at 0, so the first step is that of `PCGrad`. Reference: Wang et al., "Gradient
    vaccine: investigating and improving multi-task optimization in massively multilingual models", ICLR 2021. The averages are
    those of whole gradients; the paper also has averages per layer.

    Args:
        beta: How fast the averages move, from 0 to 1. The paper's is 0.01.
        order: The order in which a gradient is compared with the others: "random" draws one for each gradient and step, as in
            the paper; "fixed" is the order of the tasks.
        seed: Seed of the orders, which depend only on it and on the step. Default: the seed of `lightning.seed_everything`, or 0.

    Raises:
        ValueError: `beta` is not from 0 to 1, or `order` is unknown.

    Example:
        >>> balancer, gramian = GradVac(beta=0.5), torch.tensor([[1.0, 0.6], [0.6, 1.0]])
        >>> balancer(gramian)
        tensor([1., 1.])
        >>> for _ in range(10):
        ...     balancer.remember(gramian)
        >>> balancer(torch.eye(2))  # the gradients used to agree
        tensor([1.7489, 1.7489])
    """

    random = True
    kept: ClassVar[dict[str, int]] = {"phi": 2}
    phi: Tensor

    def __init__(self, beta: float = 0.01, order: Order = "random", seed: int | None = None) -> None:
        super().__init__()
        require_number("beta", beta, "The paper's is 0.01.", at_least=0, at_most=1)
        require(order in get_args(Order), "order", f"one of {get_args(Order)}", order, "The paper has 'random'.")
        require_seed(seed)
        self.beta, self.order, self.seed = beta, order, seed

    def coefficients(self, gradients: Geometry) -> Vector:
        """Change all gradients in parallel, each divided by its norm."""
        others, added, _ = self._vaccinated(gradients, self._targets(gradients))
        return gradients.norms + np.bincount(others.ravel(), (added * gradients.norms).ravel(), len(gradients.norms))

    def remember(self, gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None = None) -> None:
        """Move the averages towards the cosines of this step."""
        self._build_if_new(len(gramian), tasks)
        gradients = geometry(gramian, tasks)
        if gradients is None:
            return
        targets = self._targets(gradients)
        others, _, observed = self._vaccinated(gradients, targets)
        own = np.broadcast_to(np.arange(len(targets)), others.shape)
        targets[own, others] += self.beta * (observed - targets[own, others])
        numbers = list(gradients.tasks)
        self.phi[np.ix_(numbers, numbers)] = torch.from_numpy(targets).to(self.phi)

    def _targets(self, gradients: Geometry) -> Matrix:
        numbers = list(gradients.tasks)
        return np.nan_to_num(self.phi.numpy(force=True).astype(np.float64)[np.ix_(numbers, numbers)])

    def _vaccinated(
        self, gradients: Geometry, targets: Matrix
    ) -> tuple[Int64[np.ndarray, "others tasks"], Passes, Passes]:
        """Compare each gradient with the others, one after the other, and change it.

        Returns:
            In column k: the other tasks, in the order for gradient k; how much of their gradients is added; the cosines.
        """
        cosines, count = gradients.cosines, len(targets)
        others = orders(count, self.order, self.drawn_by(), self.step)
        products, norms = cosines.copy(), np.ones(count)  # of the changed gradients; products as in `PCGrad`
        places = others + count * np.arange(count)
        wanted = np.minimum(targets.take(places), _BELOW_ONE)
        ratios = wanted / np.sqrt(1 - wanted * wanted)
        added, observed = np.empty(others.shape), np.empty(others.shape)
        for other, place, want, ratio, add, cosine in zip(others, places, wanted, ratios, added, observed, strict=True):
            np.divide(products.take(place), norms, out=cosine)
            np.clip(cosine, -1.0, 1.0, out=cosine)
            np.multiply(norms, ratio * np.sqrt(1 - cosine * cosine) - cosine, out=add)
            add *= cosine < want
            norms = np.sqrt(np.maximum(norms * norms + add * (2 * cosine * norms + add), _TINY))
            products += add[:, None] * cosines.take(other, axis=0)
        return others, added, observed
