"""The base classes of adaptations by gradient steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .._checks import require_number
from ._base import Adaptation, Inner, require_steps
from ._inner_optimizers import SGD, InnerOptimizer
from ._problem import Parameters

Selection = str | Sequence[str]
_PARTS = {"all": "*", "encoder": "encoder.*", "head": "heads.*"}


class GradientDescent(Adaptation):
    """Adapt by gradient steps on the support's loss.

    Args:
        rate: Learning rate of the inner steps.
        steps: Number of inner steps.
        evaluation_steps: Number of inner steps in validation, test and `adapt`. Default: `steps`.
        first_order: Whether inner gradients count as constants, so that no second derivatives are needed.
        adapted: Which parameters adapt: "all", "encoder", "head", or names with * as a wildcard, e.g. ["encoder.trunk.2.*", "heads.*"].
            The others are trained over all tasks, and do not change within a task.
        optimizer: The `InnerOptimizer` of the steps. Default: `SGD()`.

    Raises:
        ValueError: `rate` is not above 0, or a number of steps is below 0.
    """

    def __init__(
        self,
        rate: float = 0.01,
        steps: int = 1,
        *,
        evaluation_steps: int | None = None,
        first_order: bool = False,
        adapted: Selection = "all",
        optimizer: InnerOptimizer | None = None,
    ) -> None:
        super().__init__()
        require_number("rate", rate, "0.01 is the default.", above=0)
        require_steps(steps, evaluation_steps)
        if optimizer is not None and not isinstance(optimizer, InnerOptimizer):
            raise TypeError(
                f"`optimizer` must be an InnerOptimizer, through which gradients pass, got {optimizer!r}. Use SGD(momentum=0.9) or Adam() of "
                "lightning_mtl.adaptation."
            )
        self.rate = rate
        self.steps = steps
        self.evaluation_steps = evaluation_steps
        self.first_order = first_order
        self.adapted = adapted
        self.optimizer = optimizer or SGD()
        self.rates = nn.ParameterDict()
        """Learned rates, by names of parameters with / instead of dots."""
        self.names: tuple[str, ...] = ()
        """Names of the parameters that adapt; `build` sets them."""

    def adapts(self, name: str) -> bool:
        """Return whether the parameter of this name adapts."""
        patterns = [self.adapted] if isinstance(self.adapted, str) else self.adapted
        return any(fnmatchcase(name, _PARTS.get(pattern, pattern)) for pattern in patterns)

    def build(self, parameters: Mapping[str, Tensor]) -> None:
        """Find the parameters that adapt.

        Raises:
            ValueError: There are none.
        """
        self.names = tuple(name for name in parameters if self.adapts(name))
        self._refuse_none(self.names, parameters)

    def succeed(self, old: str, new: str, parameters: Mapping[str, Tensor]) -> None:
        """Pass on the learned rates of parameters to those of the same size that replace them."""
        for name, rate in {
            key.replace("/", "."): self.rates.pop(key)
            for key in list(self.rates)
            if key.startswith(old.replace(".", "/"))
        }.items():
            now = new + name.removeprefix(old)
            if now in parameters and rate.shape in (parameters[now].shape, (self.steps,)):
                self.rates[now.replace(".", "/")] = rate

    def begin(self, parameters: Parameters) -> Any:
        """Return the initial state of the optimizer."""
        return self.optimizer.begin({name: parameters[name] for name in self._adapting_names(parameters)})

    def step(
        self, parameters: Parameters, memory: Any, number: int, learned: Parameters, inner: Inner
    ) -> tuple[Parameters, Any]:
        """Take a step of the optimizer on the support's loss."""
        moving = {name: parameters[name] for name in self._adapting_names(parameters)}
        rest = {name: value for name, value in parameters.items() if name not in moving}
        gradients = inner.gradient(moving, rest, number)
        directions, memory = self.optimizer.directions(gradients, memory, number)
        moved = {name: self.moved(name, value, directions[name], number, learned) for name, value in moving.items()}
        return {**parameters, **moved}, memory

    def _adapting_names(self, parameters: Parameters) -> list[str]:
        if not self.names:
            self.build(parameters)
        names = [name for name in self.names if name in parameters]
        self._refuse_none(names, parameters)
        return names

    def _refuse_none(self, names: Sequence[str], parameters: Mapping[str, Tensor]) -> None:
        if (self.steps or self.evaluation_steps) and not names:
            raise ValueError(
                f"`adapted` of {type(self).__name__} must match trained parameters, got {self.adapted!r}; there are "
                f"{_shortened(list(parameters))}. Use 'all', 'encoder', 'head', or such names with *; frozen parameters do not adapt."
            )

    def moved(self, name: str, value: Tensor, direction: Tensor, number: int, learned: Parameters) -> Tensor:
        """Return a parameter after a step; here all parameters have the same rate."""
        return torch.add(value, direction, alpha=-self.rate)  # `sub` would need one more operation in the backward pass


class PartDescent(GradientDescent):
    """Adapt one part of the model by gradient steps; the other part does not change within a task."""

    adapted_part: ClassVar[str]

    def __init__(
        self,
        rate: float = 0.01,
        steps: int = 1,
        *,
        evaluation_steps: int | None = None,
        first_order: bool = False,
        optimizer: InnerOptimizer | None = None,
    ) -> None:
        options: Any = {"evaluation_steps": evaluation_steps, "first_order": first_order, "optimizer": optimizer}
        super().__init__(rate, steps, adapted=self.adapted_part, **options)


def _shortened(names: list[str]) -> str:
    return f"{names}" if len(names) <= 8 else f"{names[:4]} ... {names[-2:]}"
