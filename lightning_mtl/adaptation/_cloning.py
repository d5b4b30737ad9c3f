"""Adaptation by a learner that adapts clones of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from ._base import Adaptation, Inner
from ._problem import Parameters


class Cloning(Adaptation):
    """Leave adapting to a part of the model: a learner with `clone()` and `adapt(loss)`, as those of learn2learn have.

    Each episode adapts one clone, as often as there are steps; a query is predicted with the tensors that it then holds. So
    `clone()` must give a module whose parameters have the learner's names, and are computed from them; what else an adapted
    clone keeps is known to its own `adapt` alone. It needs the engine "loop", and a learner whose state lies in its parameters.

    Args:
        learner: Where the learner is: "encoder.trunk", or "heads.<task>.layers".
        steps: How often to adapt a clone.
        evaluation_steps: How often where nothing is trained. Default: `steps`.

    Raises:
        ValueError: A number of steps below 0; or a clone whose parameters are not those of the learner.

    Example:
        >>> Cloning("encoder.trunk", steps=5).count(training=True)
        5
    """

    first_order = False
    """Whether inner gradients are constants is the learner's own affair."""

    def __init__(self, learner: str, steps: int = 1, *, evaluation_steps: int | None = None) -> None:
        super().__init__()
        for name, value in (("steps", steps), ("evaluation_steps", evaluation_steps)):
            if value is not None and value < 0:
                raise ValueError(f"`{name}` must be a whole number of at least 0, got {value}.")
        self.learner = learner
        self.steps = steps
        self.evaluation_steps = evaluation_steps

    def build(self, parameters: Mapping[str, Tensor]) -> None:
        """Look whether the learner is there.

        Raises:
            ValueError: Nothing that is learned is in it.
        """
        if not any(name.startswith(f"{self.learner}.") for name in parameters):
            raise ValueError(
                f"`learner` must be a part of the model with parameters, got {self.learner!r}. Name it: 'encoder.trunk'."
            )

    def step(
        self, parameters: Parameters, memory: Any, number: int, learned: Parameters, inner: Inner
    ) -> tuple[Parameters, Any]:
        """Let the clone adapt to the support."""
        loop: Any = inner
        if memory is None:
            memory = self._clone(parameters, loop.problem.learner)
            parameters = {**parameters, **self._of(memory, parameters)}
        loss, _ = loop.problem.support(parameters, loop.data)
        memory.adapt(loss)
        return {**parameters, **self._of(memory, parameters)}, memory

    def _clone(self, parameters: Parameters, model: nn.Module) -> Any:
        """Clone the learner as it is with these parameters."""
        theirs = model.get_submodule(self.learner)
        own = {
            f"learner.{name.removeprefix(self.learner)[1:]}": value
            if value.requires_grad
            else value.detach().requires_grad_()
            for name, value in parameters.items()
            if name.startswith(f"{self.learner}.")
        }
        clone = functional_call(_Cloned(theirs), own, ())
        given = {id(value) for value in own.values()}
        made = self._of(clone, parameters).values()
        if clone is theirs or not made or not all(value.grad_fn or id(value) in given for value in made):
            raise ValueError(
                f"`clone()` of {type(theirs).__name__} must give another module with parameters of the same names, computed from its "
                f"own, got {type(clone).__name__}. Copy each with .clone(), not with copy.deepcopy or .detach()."
            )
        return clone

    def _of(self, clone: Any, parameters: Parameters) -> Parameters:
        """Give the tensors that a clone holds."""
        held = clone.named_parameters() if isinstance(clone, nn.Module) else ()
        named = {f"{self.learner}.{name}": value for name, value in held}
        return {name: value for name, value in named.items() if name in parameters}


class _Cloned(nn.Module):
    def __init__(self, learner: Any) -> None:
        super().__init__()
        self.learner = learner

    def forward(self) -> Any:
        return self.learner.clone()
