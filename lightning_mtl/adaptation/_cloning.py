"""Adaptation by a learner that adapts clones of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from ._base import Adaptation, Inner, require_steps
from ._problem import Parameters


class Cloning(Adaptation):
    """Let a part of the model adapt itself: a learner with `clone()` and `adapt(loss)`, like those of learn2learn.

    Each episode adapts one clone, once per step. The query is then predicted with the parameters of the clone. So `clone()` must
    return a module whose parameters have the same names as the learner's and are computed from them. Other state of an adapted
    clone is used only by its own `adapt`. It needs the engine "loop", and a learner whose state lies in its parameters.

    Args:
        learner: Path of the learner in the model: "encoder.trunk", or "heads.<task>.layers".
        steps: How often to adapt a clone.
        evaluation_steps: How often to adapt it in evaluation. Default: `steps`.

    Raises:
        ValueError: A number of steps is below 0; or the parameters of a clone are not those of the learner.

    Example:
        >>> Cloning("encoder.trunk", steps=5).count(training=True)
        5
    """

    first_order = False
    """The learner itself decides whether inner gradients are constants."""

    def __init__(self, learner: str, steps: int = 1, *, evaluation_steps: int | None = None) -> None:
        super().__init__()
        require_steps(steps, evaluation_steps)
        self.learner = learner
        self.steps = steps
        self.evaluation_steps = evaluation_steps

    def build(self, parameters: Mapping[str, Tensor]) -> None:
        """Check that the learner is a part of the model.

        Raises:
            ValueError: No trained parameter belongs to it.
        """
        if not any(name.startswith(f"{self.learner}.") for name in parameters):
            raise ValueError(
                f"`learner` must be a part of the model with parameters, got {self.learner!r}. Name it: 'encoder.trunk'."
            )

    def step(
        self, parameters: Parameters, memory: Any, number: int, learned: Parameters, inner: Inner
    ) -> tuple[Parameters, Any]:
        """Let the clone adapt to the support."""
        support: Any = inner
        if memory is None:
            memory = self._clone(parameters, support.problem.learner)
            parameters = {**parameters, **self._parameters_of(memory, parameters)}
        loss, _ = support.problem.support(parameters, support.data)
        memory.adapt(loss)
        return {**parameters, **self._parameters_of(memory, parameters)}, memory

    def _clone(self, parameters: Parameters, model: nn.Module) -> Any:
        """Clone the learner, with these parameters."""
        learner = model.get_submodule(self.learner)
        own = {
            f"learner.{name.removeprefix(self.learner)[1:]}": value
            if value.requires_grad
            else value.detach().requires_grad_()
            for name, value in parameters.items()
            if name.startswith(f"{self.learner}.")
        }
        clone = functional_call(_CallsClone(learner), own, ())
        originals = {id(value) for value in own.values()}
        cloned = self._parameters_of(clone, parameters).values()
        if clone is learner or not cloned or not all(value.grad_fn or id(value) in originals for value in cloned):
            raise ValueError(
                f"`clone()` of {type(learner).__name__} must return another module with parameters of the same names, computed from its "
                f"own, got {type(clone).__name__}. Copy each with .clone(), not with copy.deepcopy or .detach()."
            )
        return clone

    def _parameters_of(self, clone: Any, parameters: Parameters) -> Parameters:
        """Return the parameters of a clone, by their names in the model."""
        own = clone.named_parameters() if isinstance(clone, nn.Module) else ()
        named = {f"{self.learner}.{name}": value for name, value in own}
        return {name: value for name, value in named.items() if name in parameters}


class _CallsClone(nn.Module):
    """Calls `clone()` in its forward pass, because `functional_call` replaces parameters only there."""

    def __init__(self, learner: Any) -> None:
        super().__init__()
        self.learner = learner

    def forward(self) -> Any:
        return self.learner.clone()
