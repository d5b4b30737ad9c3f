"""What every adaptation is: how a task's parameters follow from a few of its examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from ._problem import Data, Parameters


@runtime_checkable
class Inner(Protocol):
    """What an adaptation asks of an episode's support."""

    def gradient(self, adapted: Parameters, rest: Parameters, step: int) -> Parameters:
        """Give the gradient of the support's loss with respect to the parameters that adapt."""
        ...

    def features(self, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Give what the head's layers read of the support, [rows, width], and the labels."""
        ...


class Adaptation(nn.Module, ABC):
    """How a task's parameters follow from a few of its examples, the support.

    It is a function of parameters and support, differentiable where asked; what it learns itself (e.g. rates) are its parameters, learned
    with those of the model. Arguments are plain data, kept as attributes of the same name.
    """

    steps: int
    """Steps of an adaptation; with 0 the parameters stay as they are."""
    evaluation_steps: int | None = None
    """Steps where nothing is trained. Default: `steps`."""
    first_order: bool = True
    """Whether gradients of inner steps count as constants."""
    joins_query: ClassVar[bool] = False
    """Whether it learns from all examples of a training episode, having no need of others to be judged by."""
    follows_difference: ClassVar[bool] = False
    """Whether the meta-gradient is what adaptation changed, and not the gradient of the query's loss."""

    def build(self, parameters: Mapping[str, Tensor]) -> None:
        """Make what is learned, for a model with these parameters.

        Args:
            parameters: All that are trained, by their names: "encoder.", "heads.<task>.".

        Raises:
            ValueError: None of them is to be adapted.
        """

    def succeed(self, old: str, new: str, parameters: Mapping[str, Tensor]) -> None:
        """Hand on what is learned for parameters to others that take their place.

        Args:
            old: How the names of the old ones begin.
            new: How those of the new ones begin.
            parameters: The new ones, by their names.
        """

    def refuse(self, task: str, head: nn.Module) -> None:
        """Look whether it can adapt a task with this head.

        Raises:
            ValueError: It cannot.
        """

    def refuse_support(self, task: str, head: nn.Module, target: Tensor) -> None:
        """Look whether a task can be adapted to examples with these labels.

        Args:
            task: Its name.
            head: Its head.
            target: The labels, [rows] or [episodes, rows].

        Raises:
            ValueError: It cannot.
        """

    def replaces(self, name: str) -> bool:
        """Say whether a parameter is made anew for each task, so that its initial value means nothing."""
        return False

    def at_epoch(self, epoch: int) -> None:
        """Be told which epoch of training it is, from 0."""

    def step_weights(self) -> list[float] | None:
        """Give what the query's loss after each step counts in training; None is the last one alone."""
        return None

    def learned(self) -> Parameters:
        """Give what it learns itself, by its names."""
        return dict(self.named_parameters())

    def begin(self, parameters: Parameters) -> Any:
        """Give what is remembered before the first step."""
        return None

    @abstractmethod
    def step(
        self, parameters: Parameters, memory: Any, number: int, learned: Parameters, inner: Inner
    ) -> tuple[Parameters, Any]:
        """Take one step.

        Args:
            parameters: All parameters, as they are before it.
            memory: What `begin` or the last step gave.
            number: Which step it is, from 0.
            learned: What this rule learns itself.
            inner: The support.

        Returns:
            All parameters after it, and what to remember.
        """

    def count(self, training: bool, asked: int | None = None) -> int:
        """Give the number of steps.

        Args:
            training: Whether it is trained.
            asked: What the caller would have.
        """
        if asked is not None:
            return asked
        return self.steps if training or self.evaluation_steps is None else self.evaluation_steps

    def part(self, data: Data, number: int) -> Data:
        """Pick the examples of a step: by default all of them."""
        return data
