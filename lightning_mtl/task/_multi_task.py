"""The interface of a module for several tasks, for callbacks, data modules and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

import lightning as L
import torch
from torch import Tensor, nn

from ..gradients import Balance, BalancedModule, Scope, Step
from ..inputs import Inputs
from ._routing import Batch, Routing
from ._task import Task


@runtime_checkable
class Log(Protocol):
    """The log of training."""

    extra_values: list[Callable[[], dict[str, float]]]
    listeners: list[Callable[[int, dict[str, float]], None]]


@runtime_checkable
class Steps(Protocol):
    """The steps of training."""

    def last(self) -> tuple[Sequence[int], Tensor]:
        """Return the tasks of the last step, and their losses; their mean over the ranks counts."""

    def tasks_of_step(self) -> set[int]:
        """Return the tasks of the batches that make this optimizer step, on any rank."""


@runtime_checkable
class Scores(Protocol):
    """The results of evaluations."""

    scored: dict[str, int]


@runtime_checkable
class MultiTask(BalancedModule, Protocol):
    """A module for several tasks, as other packages see it; `lightning_mtl.modules.TaskModule` is one."""

    inputs: dict[str, Inputs]
    """How the rows of each source become inputs of the encoder."""
    penalties: list[Callable[[Batch], Tensor | None]]
    """Functions that return a term of the loss of a training batch, or None."""

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks, in the order of their numbers."""

    @property
    def routing(self) -> Routing:
        """Which task reads which source."""

    @property
    def train_log(self) -> Log:
        """The log of training."""

    @property
    def loss_over_ranks(self) -> Steps:
        """The loss of a step."""

    @property
    def task_evaluation(self) -> Scores:
        """The latest evaluation."""

    @property
    def balancer(self) -> Any:
        """How the tasks of a step are balanced."""

    @property
    def balance(self) -> Balance | None:
        """How the last step was balanced."""

    @property
    def scope(self) -> Scope | None:
        """Where a gradient balancer measures."""

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""

    def run(self, batch: Batch) -> Step:
        """Compute the losses of the tasks that have labels in a batch."""

    def assess(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the scores of the tasks on these batches."""

    def scores(self) -> dict[str, float]:
        """Return the latest validation scores."""

    def kind(self) -> str:
        """Return the name of the library's class that it is an instance of."""

    def balancing(self) -> dict[str, Any]:
        """Return the arguments of balancing."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments other than tasks, encoder and balancing."""

    def build_layers(self) -> None:
        """Make the layers that depend on the data."""

    def build_encoder(self) -> None:
        """Make the layers of the encoder that depend on the data."""

    def build_heads(self) -> None:
        """Make the layers of the heads that are known."""

    def state_dict(self) -> dict[str, Any]:
        """Return all weights."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Load weights."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return all parameters by their names."""

    def buffers(self) -> Iterator[Tensor]:
        """Return all buffers."""


@runtime_checkable
class LevelledMultiTask(MultiTask, Protocol):
    """A module whose tasks are supervised at levels of the encoder; `HierarchicalModule` is one."""

    @property
    def hierarchy(self) -> Any:
        """The level of each task."""

    def levels_of_parameters(self) -> tuple[dict[nn.Parameter, int], dict[nn.Parameter, int]]:
        """Return the level of each parameter: those of the trunk, and the tasks' own."""


def is_multi_task(module: L.LightningModule) -> TypeGuard[MultiTask]:
    """Return whether a module is one of the library's."""
    return hasattr(module, "loss_over_ranks") and hasattr(module, "train_log")


def is_levelled(module: L.LightningModule) -> TypeGuard[LevelledMultiTask]:
    """Return whether a module is a hierarchy of the library's."""
    return is_multi_task(module) and hasattr(module, "levels_of_parameters")
