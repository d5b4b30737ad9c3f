"""MAML++."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from .._checks import require_number
from ._gradient_descent import GradientDescent, Selection
from ._problem import Parameters

_LEAST = 0.03
"""Smallest weight of an early step's loss, relative to equal weights."""


class MAMLPlusPlus(GradientDescent):
    """MAML with changes that make its training stable (Antoniou et al., "How to train your MAML", ICLR 2019, section 4).

    Each of them is an option: the query's loss after every inner step counts, early steps less and less (multi-step loss,
    equation 3); each parameter tensor has a learned rate for each step (section 4, "learning per-layer per-step learning
    rates"); the first epochs leave out second derivatives (derivative-order annealing).

    Args:
        rate: Initial value of the rates.
        steps: See `GradientDescent`.
        evaluation_steps: See `GradientDescent`; steps beyond `steps` use the rates of the last one.
        multi_step_epochs: Epochs after which almost only the last step's loss counts; with 0 it is the only one from the start.
        learn_rates: Whether rates are learned.
        first_order_epochs: Number of first epochs that leave out second derivatives.
        adapted: See `GradientDescent`.

    Raises:
        ValueError: A number of epochs is below 0, or see `GradientDescent`.

    Example:
        >>> rule = MAMLPlusPlus(steps=2, multi_step_epochs=10)
        >>> [round(weight, 3) for weight in rule.step_weights()]
        [0.5, 0.5]
        >>> rule.at_epoch(10)
        >>> [round(weight, 3) for weight in rule.step_weights()]
        [0.015, 0.985]
    """

    def __init__(
        self,
        rate: float = 0.01,
        steps: int = 5,
        *,
        evaluation_steps: int | None = None,
        multi_step_epochs: int = 15,
        learn_rates: bool = True,
        first_order_epochs: int = 0,
        adapted: Selection = "all",
    ) -> None:
        remedy = "0 weighs the last step alone."
        require_number("multi_step_epochs", multi_step_epochs, remedy, at_least=0, whole=True)
        remedy = "0 keeps second derivatives from the start."
        require_number("first_order_epochs", first_order_epochs, remedy, at_least=0, whole=True)
        super().__init__(
            rate, steps, evaluation_steps=evaluation_steps, first_order=first_order_epochs > 0, adapted=adapted
        )
        self.multi_step_epochs = multi_step_epochs
        self.learn_rates = learn_rates
        self.first_order_epochs = first_order_epochs
        self._epoch = 0

    def at_epoch(self, epoch: int) -> None:
        """Switch to the derivatives and step weights of an epoch."""
        self._epoch = epoch
        self.first_order = epoch < self.first_order_epochs

    def build(self, parameters: Mapping[str, Tensor]) -> None:
        """Create the rates of tensors that have none."""
        super().build(parameters)
        for name in self.names if self.learn_rates and self.steps else ():
            if (key := name.replace(".", "/")) not in self.rates:
                self.rates[key] = nn.Parameter(parameters[name].detach().new_full((self.steps,), self.rate))

    def step_weights(self) -> list[float] | None:
        """Return the weights of the query's losses after each step: equal at first, then more and more for the last step."""
        if not self.multi_step_epochs or self.steps < 2:
            return None
        equal = 1 / self.steps
        early = max(equal - self._epoch * equal / self.multi_step_epochs, _LEAST * equal)
        return [early] * (self.steps - 1) + [1 - early * (self.steps - 1)]

    def moved(self, name: str, value: Tensor, direction: Tensor, number: int, learned: Parameters) -> Tensor:
        """Return a parameter after a step, with the rate of its tensor for this step."""
        if not self.learn_rates:
            return super().moved(name, value, direction, number, learned)
        return value - learned[f"rates.{name.replace('.', '/')}"][min(number, self.steps - 1)] * direction
