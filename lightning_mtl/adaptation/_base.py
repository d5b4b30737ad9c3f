"""The base class of inner-loop algorithms, which adapt a task's parameters to a few of its examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from .._checks import require_number
from ._problem import Data, Parameters


@runtime_checkable
class Inner(Protocol):
    """The functions of an episode's support that an adaptation can use."""

    def gradient(self, adapted: Parameters, rest: Parameters, step: int) -> Parameters:
        """Return the gradient of the support's loss with respect to the adapted parameters."""
        ...

    def features(self, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Return the input of the head's layers for the support, [rows, width], and the labels."""
        ...


class Adaptation(nn.Module, ABC):
    """An algorithm that adapts a task's parameters to a few of its examples, the support.

    It is a function of parameters and support, differentiable if the meta-gradient needs it. What it learns itself (e.g. rates)
    are its parameters, which are trained with those of the model. Arguments are plain data, kept as attributes of the same name.
    """

    steps: int
    """Number of inner steps; with 0 the parameters do not change."""
    evaluation_steps: int | None = None
    """Number of inner steps in evaluation. Default: `steps`."""
    first_order: bool = True
    """Whether gradients of inner steps count as constants."""
    joins_query: ClassVar[bool] = False
    """Whether it adapts to all examples of a training episode, because its meta-gradient needs no query."""
    follows_difference: ClassVar[bool] = False
    """Whether the meta-gradient is the change of the parameters, and not the gradient of the query's loss."""

    def build(self, parameters: Mapping[str, Tensor]) -> None:
        """Create what it learns itself, for a model with these parameters.

        Args:
            parameters: All trained parameters, by their names: "encoder.", "heads.<task>.".

        Raises:
            ValueError: None of them adapts.
        """

    def succeed(self, old: str, new: str, parameters: Mapping[str, Tensor]) -> None:
        """Pass on what it learned for some parameters to others that replace them.

        Args:
            old: Prefix of the names of the old parameters.
            new: Prefix of the names of the new parameters.
            parameters: The new parameters, by their names.
        """

    def refuse(self, task: str, head: nn.Module) -> None:
        """Check that it can adapt a task with this head.

        Raises:
            ValueError: It cannot.
        """

    def refuse_support(self, task: str, head: nn.Module, target: Tensor) -> None:
        """Check that it can adapt a task to examples with these labels.

        Args:
            task: Its name.
            head: Its head.
            target: The labels, [rows] or [episodes, rows].

        Raises:
            ValueError: It cannot.
        """

    def replaces(self, name: str) -> bool:
        """Return whether a parameter is computed anew for each task, so that its initial value has no effect."""
        return False

    def at_epoch(self, epoch: int) -> None:
        """Take note of the current epoch, counted from 0."""

    def step_weights(self) -> list[float] | None:
        """Return the weight of the query's loss after each step in training; None counts only the last one."""
        return None

    def learned(self) -> Parameters:
        """Return the parameters that it learns itself, by their names."""
        return dict(self.named_parameters())

    def begin(self, parameters: Parameters) -> Any:
        """Return the state of the inner loop before the first step."""
        return None

    @abstractmethod
    def step(
        self, parameters: Parameters, memory: Any, number: int, learned: Parameters, inner: Inner
    ) -> tuple[Parameters, Any]:
        """Take one step.

        Args:
            parameters: All parameters before the step.
            memory: State of the inner loop, from `begin` or the last step.
            number: Number of the step, from 0.
            learned: The parameters that this rule learns itself.
            inner: The support.

        Returns:
            All parameters after the step, and the new state of the inner loop.
        """

    def count(self, training: bool, asked: int | None = None) -> int:
        """Return the number of steps.

        Args:
            training: Whether this is training, and not evaluation.
            asked: The number that the caller wants, if any.
        """
        if asked is not None:
            return asked
        return self.steps if training or self.evaluation_steps is None else self.evaluation_steps

    def part(self, data: Data, number: int) -> Data:
        """Return the examples of a step: by default all of them."""
        return data


def require_steps(steps: int, evaluation_steps: int | None) -> None:
    """Check numbers of inner steps.

    Raises:
        TypeError: One is not a number.
        ValueError: One is not whole, or below 0.
    """
    require_number("steps", steps, "0 adapts nothing.", at_least=0, whole=True)
    remedy = "Leave it out for `steps`."
    require_number("evaluation_steps", evaluation_steps, remedy, at_least=0, whole=True, optional=True)
