"""PCGrad: gradients without their conflicting parts."""

from __future__ import annotations

from typing import get_args

import numpy as np

from .._checks import require
from ._cosines import CosineBalancer
from ._generator import require_seed
from ._geometry import Geometry, Vector
from ._orders import Order, orders


class PCGrad(CosineBalancer):
    """Remove from each gradient what conflicts with the others, one after the other, and add up: g <- g - min(0, g.h) / h.h h.

    Reference: Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020, algorithm 1. Removing one conflict can create
    another, so with three or more tasks some may remain.

    Args:
        order: The order in which a gradient is compared with the others: "random" draws one for each gradient and step, as in
            the paper; "fixed" is the order of the tasks.
        seed: Seed of the orders, which depend only on it and on the step. Default: the seed of `lightning.seed_everything`, or 0.

    Raises:
        ValueError: `order` is unknown.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[1.0, 2.0, -0.5], [-1.5, 0.3, 0.8]])
        >>> PCGrad()(gradients @ gradients.T)
        tensor([1.2476, 1.4362])
    """

    random = True

    def __init__(self, order: Order = "random", seed: int | None = None) -> None:
        super().__init__()
        require(order in get_args(Order), "order", f"one of {get_args(Order)}", order, "The paper has 'random'.")
        require_seed(seed)
        self.order, self.seed = order, seed

    def coefficients(self, gradients: Geometry) -> Vector:
        """Project all gradients in parallel, each divided by its norm."""
        count = len(gradients.norms)
        others = orders(count, self.order, self.drawn_by(), self.step)
        products = gradients.cosines.copy()  # row k: inner products of the projected gradient k with the original ones
        places = others + count * np.arange(count)
        added = np.empty(others.shape)
        for other, place, conflict in zip(others, places, added, strict=True):
            np.minimum(products.take(place), 0.0, out=conflict)
            products -= conflict[:, None] * gradients.cosines.take(other, axis=0)
        return gradients.norms - np.bincount(others.ravel(), (added * gradients.norms).ravel(), count)
