"""What adaptations by gradient steps have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ._base import Adaptation, Inner
from ._inner_optimizers import SGD, InnerOptimizer
from ._problem import Parameters

Selection = str | Sequence[str]
_PARTS = {"all": "*", "encoder": "encoder.*", "head": "heads.*"}


class GradientDescent(Adaptation):
    """Adapt by gradient steps on the support's loss.

    Args:
        rate: Size of an inner step.
        steps: How many.
        evaluation_steps: How many where nothing is trained: in validation, test, and `adapt`. Default: `steps`.
        first_order: Whether inner gradients count as constants, so that no second derivatives are needed.
        adapted: Which parameters adapt: "all", "encoder", "head", or names with * for anything, e.g. ["encoder.trunk.2.*", "heads.*"]. The
            others are learned over all tasks, and stay as they are within one.
        optimizer: Which way a step goes, an `InnerOptimizer`. Default: the gradient's, `SGD()`.

    Raises:
        ValueError: `rate` is not above 0, or a number of steps below 0.
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
        if not 0 < rate < float("inf"):
            raise ValueError(f"`rate` must be above 0 and finite, got {rate}.")
        for name, value in (("steps", steps), ("evaluation_steps", evaluation_steps)):
            if value is not None and (value < 0 or value != int(value)):
                raise ValueError(f"`{name}` must be a whole number of at least 0, got {value}.")
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
        """Rates that are learned, by names of parameters with / for the dots."""
        self.names: tuple[str, ...] = ()
        """Names of the parameters that adapt, once all are known."""

    def adapts(self, name: str) -> bool:
        """Say whether a parameter of this name adapts."""
        given = [self.adapted] if isinstance(self.adapted, str) else self.adapted
        return any(fnmatchcase(name, _PARTS.get(pattern, pattern)) for pattern in given)

    def build(self, parameters: Mapping[str, Tensor]) -> None:
        """Look which parameters are to adapt.

        Raises:
            ValueError: None is.
        """
        self.names = tuple(name for name in parameters if self.adapts(name))
        self._refuse_none(self.names, parameters)

    def succeed(self, old: str, new: str, parameters: Mapping[str, Tensor]) -> None:
        """Hand on the rates of parameters to those of the same size that take their place."""
        for name, rate in {
            key.replace("/", "."): self.rates.pop(key)
            for key in list(self.rates)
            if key.startswith(old.replace(".", "/"))
        }.items():
            now = new + name.removeprefix(old)
            if now in parameters and rate.shape in (parameters[now].shape, (self.steps,)):
                self.rates[now.replace(".", "/")] = rate

    def begin(self, parameters: Parameters) -> Any:
        """Begin as the optimizer does."""
        return self.optimizer.begin({name: parameters[name] for name in self._names(parameters)})

    def step(
        self, parameters: Parameters, memory: Any, number: int, learned: Parameters, inner: Inner
    ) -> tuple[Parameters, Any]:
        """Go a step against the gradient."""
        moving = {name: parameters[name] for name in self._names(parameters)}
        rest = {name: value for name, value in parameters.items() if name not in moving}
        gradients = inner.gradient(moving, rest, number)
        directions, memory = self.optimizer.directions(gradients, memory, number)
        moved = {name: self.moved(name, value, directions[name], number, learned) for name, value in moving.items()}
        return {**parameters, **moved}, memory

    def _names(self, parameters: Parameters) -> list[str]:
        if not self.names:
            self.build(parameters)
        names = [name for name in self.names if name in parameters]
        self._refuse_none(names, parameters)
        return names

    def _refuse_none(self, names: Sequence[str], parameters: Mapping[str, Tensor]) -> None:
        if (self.steps or self.evaluation_steps) and not names:
            raise ValueError(
                f"`adapted` of {type(self).__name__} must match some that are trained, got {self.adapted!r}; there are "
                f"{_some(list(parameters))}. Use 'all', 'encoder', 'head', or such names with *; what is frozen does not adapt."
            )

    def moved(self, name: str, value: Tensor, direction: Tensor, number: int, learned: Parameters) -> Tensor:
        """Give a parameter after a step; here all have one rate."""
        return torch.add(value, direction, alpha=-self.rate)  # `sub` would take one more operation back


def _some(names: list[str]) -> str:
    return f"{names}" if len(names) <= 8 else f"{names[:4]} ... {names[-2:]}"
