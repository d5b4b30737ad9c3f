"""MAML++."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ._gradient_descent import GradientDescent, Selection
from ._problem import Parameters

_LEAST = 0.03
"""What an early step's loss keeps, as a share of an even one."""


class MAMLPlusPlus(GradientDescent):
    """MAML with what makes it train steadily (Antoniou et al., "How to train your MAML", ICLR 2019, section 4).

    Its pieces are options: the query's loss after each inner step counts, less and less for the early ones (multi-step loss,
    equation 3); each tensor of parameters has a rate for each step, which is learned (section 4, "learning per-layer per-step
    learning rates"); and the first epochs leave second derivatives out (derivative-order annealing).

    Args:
        rate: What the rates are at first.
        steps: See `GradientDescent`.
        evaluation_steps: See `GradientDescent`; steps beyond those trained have the last one's rates.
        multi_step_epochs: Epochs after which only the last step's loss counts; 0 for never any other.
        learn_rates: Whether rates are learned.
        first_order_epochs: Epochs that leave second derivatives out.
        adapted: See `GradientDescent`.

    Raises:
        ValueError: A number of epochs below 0, or what `GradientDescent` refuses.

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
        for name, value in (("multi_step_epochs", multi_step_epochs), ("first_order_epochs", first_order_epochs)):
            if value < 0:
                raise ValueError(f"`{name}` must be at least 0, got {value}.")
        super().__init__(
            rate, steps, evaluation_steps=evaluation_steps, first_order=first_order_epochs > 0, adapted=adapted
        )
        self.multi_step_epochs = multi_step_epochs
        self.learn_rates = learn_rates
        self.first_order_epochs = first_order_epochs
        self._epoch = 0

    def at_epoch(self, epoch: int) -> None:
        """Go on to the derivatives and the step weights of an epoch."""
        self._epoch = epoch
        self.first_order = epoch < self.first_order_epochs

    def build(self, parameters: Mapping[str, Tensor]) -> None:
        """Make the rates of tensors that have none."""
        super().build(parameters)
        for name in self.names if self.learn_rates and self.steps else ():
            if (key := name.replace(".", "/")) not in self.rates:
                self.rates[key] = nn.Parameter(parameters[name].detach().new_full((self.steps,), self.rate))

    def step_weights(self) -> list[float] | None:
        """Give what the query's loss after each step counts: evenly at first, and ever more for the last step."""
        if not self.multi_step_epochs or self.steps < 2:
            return None
        even = 1 / self.steps
        early = max(even - self._epoch * even / self.multi_step_epochs, _LEAST * even)
        return [early] * (self.steps - 1) + [1 - early * (self.steps - 1)]

    def moved(self, name: str, value: Tensor, direction: Tensor, number: int, learned: Parameters) -> Tensor:
        """Give a parameter after a step, at the tensor's rate for it."""
        if not self.learn_rates:
            return super().moved(name, value, direction, number, learned)
        return value - learned[f"rates.{name.replace('.', '/')}"][min(number, self.steps - 1)] * direction
