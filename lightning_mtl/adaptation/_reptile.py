"""Reptile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .._checks import require_number
from ._gradient_descent import GradientDescent, Selection
from ._inner_optimizers import InnerOptimizer
from ._problem import Data


class Reptile(GradientDescent):
    """Move the initial parameters towards the adapted ones (Nichol et al. 2018, "On first-order meta-learning algorithms", algorithm 2).

    The meta-gradient of parameters theta, adapted to theta', is (theta - theta') / rate, the sum of the inner directions. For the
    paper's step theta + epsilon (theta' - theta), use SGD with the rate epsilon / rate; or Adam, as in their section 6.1. Training
    needs no query, so it adapts to support and query together, and the loss of a training step is that of examples it has seen.
    With `minibatch`, each inner step uses other examples, which is what Reptile learns from (section 5.1). With one step it is joint
    training.

    Args:
        rate: See `GradientDescent`.
        steps: See `GradientDescent`.
        evaluation_steps: See `GradientDescent`.
        minibatch: Number of examples of an inner step; steps take one slice after another. Default: all examples.
        adapted: See `GradientDescent`.
        optimizer: See `GradientDescent`.

    Raises:
        ValueError: `minibatch` is below 1, or see `GradientDescent`.

    Example:
        >>> Reptile(rate=0.1, steps=5, minibatch=10).minibatch
        10
    """

    joins_query = True
    follows_difference = True

    def __init__(
        self,
        rate: float = 0.01,
        steps: int = 5,
        *,
        evaluation_steps: int | None = None,
        minibatch: int | None = None,
        adapted: Selection = "all",
        optimizer: InnerOptimizer | None = None,
    ) -> None:
        super().__init__(
            rate, steps, evaluation_steps=evaluation_steps, first_order=True, adapted=adapted, optimizer=optimizer
        )
        remedy = "Leave it out for all examples."
        require_number("minibatch", minibatch, remedy, at_least=1, whole=True, optional=True)
        self.minibatch = minibatch

    def part(self, data: Data, number: int) -> Data:
        """Return a slice of the examples; after the last example, the first one follows."""
        count = len(data["target"])
        if self.minibatch is None or self.minibatch >= count:
            return data
        start = number * self.minibatch % count
        places = [(start + i) % count for i in range(self.minibatch)]
        others = {name: value for name, value in data.items() if name != "rows"}
        selected: dict[str, Any] = pytree.tree_map(lambda x: x[places] if isinstance(x, Tensor) else x, others)
        return {**selected, "rows": _renumbered(data["rows"], places, data["target"])} if "rows" in data else selected


def _renumbered(words: Tensor, places: Sequence[int], target: Tensor) -> Tensor:
    """Return the numbers of the labelled words among the words of the selected rows."""
    row, position = words // target.shape[1], words % target.shape[1]
    return torch.cat([position[row == place] + i * target.shape[1] for i, place in enumerate(places)])
