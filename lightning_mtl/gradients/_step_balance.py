"""How the tasks of a training step are balanced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor, nn

from ..encoders import Encoder
from ._balance import Balance
from ._cut import Cut
from ._measuring import Scope
from ._observed_losses import Moment
from ._step import Step


@runtime_checkable
class BalancedModule(Protocol):
    """The interface of a module, for balancing."""

    @property
    def tasks(self) -> Sequence[Any]:
        """The tasks, in the order of their numbers."""

    @property
    def encoder(self) -> Encoder:
        """The shared part."""

    @property
    def heads(self) -> nn.ModuleDict:
        """Heads by the names of tasks."""

    @property
    def losses(self) -> nn.ModuleDict:
        """Losses that are modules, by the names of tasks."""

    @property
    def routing(self) -> Any:
        """Which task reads which source."""

    @property
    def sharded(self) -> bool:
        """Whether parameters are sharded over the ranks."""

    @property
    def carries_gradients(self) -> bool:
        """Whether the losses of a step carry gradients that are known before its backward pass."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Return all parameters."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return all parameters by name."""

    def modules(self) -> Iterator[nn.Module]:
        """Return all parts."""

    def shared(self) -> nn.Module:
        """Return the shared part."""

    def moved_by(self, task: int) -> set[int]:
        """Return the tasks whose heads the loss of this task moves."""


class StepBalance(ABC):
    """Combines the losses of a step into one, and runs its backward pass.

    A step calls, in this order: `begin`, `forward_pass`, `stack`, `total`, `backward`. A subclass overrides what it needs.
    """

    needs_means = True
    """Whether `total` reads the mean losses over all ranks."""

    @property
    def positive(self) -> str | None:
        """Name of a balancer that needs losses of at least 0."""
        return None

    @property
    def scope(self) -> Scope | None:
        """Where gradients are measured, as far as it is known; None where they are not."""
        return None

    @property
    def cut(self) -> Cut | None:
        """Where the shared part of the running step ends, if gradients are weighed there."""
        return None

    def build(self, names: Sequence[str]) -> None:
        """Initialise the state for tasks with these names."""

    def prepare(self, module: BalancedModule, trainer: L.Trainer) -> None:
        """Check strategy and data before the strategy wraps the model."""

    def start(self) -> None:
        """Forget an earlier fit, as training starts."""

    def begin(self, module: BalancedModule, trainer: L.Trainer, batch: Mapping[str, Any]) -> None:
        """Decide what is measured in a batch, before the strategy sees it."""

    def forward_pass(self) -> AbstractContextManager[None]:
        """Surround the forward pass of a step."""
        return nullcontext()

    def stack(self, step: Step, device: torch.device) -> Tensor:
        """Return the losses of a step as one tensor, from which its loss is computed: [tasks present]."""
        if step.results:
            return torch.stack(step.losses)
        return torch.zeros(0, device=device) if step.features is None else step.features.new_zeros(0)

    @abstractmethod
    def total(self, losses: Tensor, tasks: Sequence[int], means: Tensor, present: Sequence[int], at: Moment) -> Tensor:
        """Combine the losses into one.

        Args:
            losses: Those of this rank, times `Task.weight`.
            tasks: Their tasks.
            means: The mean losses over all ranks, times `Task.weight`.
            present: The tasks that any rank has labels for, of which these are.
            at: The time of the step.
        """

    def backward(self, loss: Tensor, run: Callable[..., None], at: Moment, *args: Any, **options: Any) -> None:
        """Run the backward pass.

        Args:
            loss: The loss of the step.
            run: The backward pass of Lightning.
            at: The time of the step.
            args: For `Tensor.backward`.
            options: For `Tensor.backward`.
        """
        run(loss, *args, **options)

    def end_epoch(self, epoch: int) -> None:
        """Warn after an epoch in which there was nothing to balance."""

    def stop(self) -> None:
        """Release the tensors of a step: training is over, or a step failed."""

    def latest(self) -> Balance | None:
        """Return how the last step was balanced; None before the first one."""
        return None

    def state(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return the state for a checkpoint, as plain data; nothing where there is none.

        Args:
            tasks: Names of all tasks.
        """
        return {}

    def load_state(self, state: Mapping[str, Any], tasks: Sequence[str]) -> None:
        """Resume from the state of a checkpoint.

        Args:
            state: The state, if there is one.
            tasks: Names of all tasks.

        Raises:
            ValueError: It is of tasks in another order.
        """


class SumOfLosses(StepBalance):
    """Adds the losses up."""

    needs_means = False

    def total(self, losses: Tensor, tasks: Sequence[int], means: Tensor, present: Sequence[int], at: Moment) -> Tensor:
        """Return the sum of the losses."""
        return losses.sum()
