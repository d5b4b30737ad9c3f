"""The order in which a gradient is compared with the others."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64

from ._generator import generator

Order = Literal["random", "fixed"]


def orders(count: int, order: Order, seed: int | None, step: int) -> Int64[np.ndarray, "others tasks"]:
    """Return, for each task, the order in which its gradient is compared with the others.

    Args:
        count: Number of tasks.
        order: "random" draws an order for each task; "fixed" is the order of the tasks.
        seed: Seed of the orders. Default: the seed of `lightning.seed_everything`, or 0.
        step: Number of the optimizer step; each step has other orders.

    Returns:
        In column k, all tasks but k.

    Example:
        >>> orders(3, "fixed", None, 0).T.tolist()
        [[1, 2], [0, 2], [0, 1]]
    """
    if order == "fixed":
        places = np.arange(count - 1)[:, None]
        return places + (places >= np.arange(count))
    keys = torch.rand(count, count, generator=generator(seed, step), dtype=torch.float64).fill_diagonal_(2)
    return np.ascontiguousarray(keys.numpy().argsort(axis=1)[:, : count - 1].T)
