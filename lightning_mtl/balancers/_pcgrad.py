"""Gradients without their conflicting parts."""

from __future__ import annotations

from typing import get_args

import numpy as np

from .._checks import require
from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector
from ._orders import Order, orders


class PCGrad(CosineBalancer):
    """Take out of each gradient what conflicts with another, one after the other, and add up: g <- g - min(0, g.h) / h.h h.

    Reference: Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020, algorithm 1. Taking out one conflict can make
    another, so from three tasks on some may remain.

    Args:
        order: In which order a gradient meets the others: "random" draws one for each gradient and step, as in the paper;
            "fixed" is that of the tasks.
        seed: Draws other orders, which depend on it and the step alone. Default: the seed of `lightning.seed_everything`, or 0.

    Raises:
        ValueError: There is no such order.

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
        self.order, self.seed = order, seed

    def coefficients(self, gradients: Geometry) -> Vector:
        """Project all gradients side by side, each divided by its norm."""
        count = len(gradients.norms)
        others = orders(count, self.order, self.drawn_by(), self.step)
        products = gradients.cosines.copy()  # of what gradient k has become with all that were given, in row k
        places = others + count * np.arange(count)
        added = np.empty(others.shape)
        for other, place, lack in zip(others, places, added, strict=True):
            np.minimum(products.take(place), 0.0, out=lack)
            products -= lack[:, None] * gradients.cosines.take(other, axis=0)
        return gradients.norms - np.bincount(others.ravel(), (added * gradients.norms).ravel(), count)
