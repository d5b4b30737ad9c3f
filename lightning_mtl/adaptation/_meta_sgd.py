"""Meta-SGD."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import require_number, require_range
from ._gradient_descent import GradientDescent, Selection
from ._problem import Parameters


class MetaSGD(GradientDescent):
    """Learn the initial parameters, and a rate for each of their elements (Li et al. 2017, "Meta-SGD", algorithm 1, equation 5).

    Within a task, theta' = theta - alpha * gradient, element by element. alpha is learned with theta, and may become negative.

    Args:
        rate: Lower and upper limit of the initial rates, which are drawn uniformly; or one number for all of them.
        steps: See `GradientDescent`.
        evaluation_steps: See `GradientDescent`.
        first_order: See `GradientDescent`.
        adapted: See `GradientDescent`.

    Raises:
        ValueError: A rate is not above 0 and finite, or the upper limit is below the lower one.

    Example:
        >>> rule = MetaSGD(rate=0.1)
        >>> rule.build({"heads.task.layers.bias": torch.zeros(3)})
        >>> rule.rates["heads/task/layers/bias"].tolist() == torch.full((3,), 0.1).tolist()
        True
    """

    def __init__(
        self,
        rate: float | Sequence[float] = (0.005, 0.1),
        steps: int = 1,
        *,
        evaluation_steps: int | None = None,
        first_order: bool = False,
        adapted: Selection = "all",
    ) -> None:
        given: Any = rate
        if isinstance(given, Collection) and not isinstance(given, str):
            require_range("rate", given, "(0.005, 0.1) are the paper's; one number is for all.", above=0)
            low, high = map(float, given)
        else:
            require_number("rate", given, "0.1 is for all; (0.005, 0.1) draws them.", above=0)
            low = high = float(given)
        super().__init__(low, steps, evaluation_steps=evaluation_steps, first_order=first_order, adapted=adapted)
        self.rate = rate  # type: ignore[assignment]
        self._limits = low, high

    def build(self, parameters: Mapping[str, Tensor]) -> None:
        """Draw the initial rates of parameters that have none."""
        super().build(parameters)
        low, high = self._limits
        for name in self.names:
            if (key := name.replace(".", "/")) not in self.rates:
                self.rates[key] = nn.Parameter(torch.empty_like(parameters[name].detach()).uniform_(low, high))

    def moved(self, name: str, value: Tensor, direction: Tensor, number: int, learned: Parameters) -> Tensor:
        """Return a parameter after a step, with a rate for each of its elements."""
        return value - learned[f"rates.{name.replace('.', '/')}"] * direction
