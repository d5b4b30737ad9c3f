"""The base classes of balancers, which weigh the tasks of a step against each other."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from ._task_state import Index, at_least_float32, resize, task_index

EPSILON = 1e-8
"""Added to losses before their logarithm or inverse, so that a loss of exactly zero keeps the step finite."""


class Balancer(nn.Module, ABC):
    """Weighs the tasks of a step against each other.

    The state of a balancer is kept per task, because a step may hold only some of the tasks: `tasks` are the numbers of the
    present ones, all by default. `build`, which the module calls, creates the state. A balancer that was not built builds
    itself at the first step, for the tasks of that step.

    Arguments are plain data, kept as attributes of the same name.
    """

    random: ClassVar[bool] = False
    """Whether it draws random numbers, which depend only on `seed` and the step."""

    seed: int | None = None
    """Seed of the random numbers. Default: the seed of the run."""
    run_seed: int | None = None
    """Seed of the run; the module sets it to the same value on all ranks, and checkpoints hold it."""
    names: tuple[str, ...] = ()
    """Names of the tasks that it was built for."""
    step: int = 0
    """Number of the optimizer step, from the last call of `observe`."""

    def build(self, names: Sequence[str]) -> None:
        """Create the state of these tasks; the state of tasks with the same name is kept.

        Args:
            names: Names of all tasks, in the order of their numbers.
        """
        self.names = tuple(names)

    def observe(
        self, losses: Float[Tensor, " present"], step: int, epoch: int, tasks: Sequence[int] | None = None
    ) -> None:
        """Update the state with the losses of a step; called once for each optimizer step, before `forward`.

        Args:
            losses: Losses of the present tasks, times `Task.weight`, averaged over all ranks, without a graph.
            step: Number of the optimizer step, from 0.
            epoch: Number of the epoch, from 0.
            tasks: Numbers of the present tasks. Default: all tasks.
        """
        self.step = step

    def drawn_by(self) -> int | None:
        """Return the seed of the random numbers; None stands for the seed of `seed_everything`, or 0."""
        return self.run_seed if self.seed is None else self.seed

    def extra_repr(self) -> str:
        """Return its arguments as text."""
        names = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def _build_if_new(self, present: int, tasks: Sequence[int] | None) -> bool:
        """Build it if it was not built yet, and return whether that was so."""
        if self.names:
            return False
        self.build([str(number) for number in range(present if tasks is None else max(tasks) + 1)])
        return True

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move or cast the state, but never below float32, where moving averages would stop moving."""
        return super()._apply(lambda tensor: at_least_float32(tensor, fn(tensor)), recurse)  # type: ignore[no-untyped-call]


class LossBalancer(Balancer):
    """Balances by the losses alone: it combines the losses of a step into the one loss that is minimised.

    `forward` reads the state and does not change it. Only `observe` changes buffers, and only the optimizer changes learned
    parameters. Both stay float32 when the module is cast to half precision.
    """

    positive: bool = False
    """Whether losses must not be below zero."""
    kept: ClassVar[Mapping[str, float]] = {}
    """Names of buffers with one number for each task, and their initial values."""
    learned: ClassVar[Mapping[str, float]] = {}
    """Names of parameters with one number for each task, and their initial values."""

    @abstractmethod
    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Combine the losses into one loss.

        Args:
            losses: Losses of the present tasks; their values are means over all ranks.
            tasks: Numbers of the present tasks. Default: all tasks.
        """

    def build(self, names: Sequence[str]) -> None:
        """Create the buffers and parameters of these tasks; the numbers of tasks with the same name are kept."""
        if self.names == tuple(names):
            return
        old = {name: number for number, name in enumerate(self.names)}
        kept = [(number, old[name]) for number, name in enumerate(names) if name in old]
        super().build(names)
        for name, first in self.kept.items():
            self.register_buffer(name, resize(getattr(self, name, None), first, len(names), kept))
        for name, first in self.learned.items():
            values = resize(getattr(self, name, None), first, len(names), kept)
            self.register_parameter(name, nn.Parameter(values))

    def give(self, name: str, values: Float[Tensor, " tasks"]) -> None:
        """Register an argument with one number per task as a buffer that checkpoints do not hold."""
        old = getattr(self, name, values)
        self.register_buffer(name, values.to(old), persistent=False)

    def present(
        self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None
    ) -> tuple[Float[Tensor, " present"], Index]:
        """Return the losses, at least in float32, and the index of the present tasks in the state.

        An index of None stands for all tasks in their order.

        Raises:
            ValueError: The number of losses is not the number of tasks.
        """
        losses = losses.float() if losses.itemsize < 4 else losses
        if self._build_if_new(len(losses), tasks):
            self.to(losses.device, losses.dtype)
        expected = len(self.names if tasks is None else tasks)
        if len(losses) != expected:
            raise ValueError(
                f"`losses` must be one for each of {expected} tasks, got {len(losses)}. "
                "Give the numbers of the present tasks as `tasks`."
            )
        return losses, task_index(tasks, len(self.names), losses.device)


class GradientBalancer(Balancer):
    """Balances by the gradients: it computes weights from the inner products of the tasks' gradients."""

    @abstractmethod
    def forward(
        self, gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None = None
    ) -> Float[Tensor, " present"]:
        """Return a weight for each task.

        Args:
            gramian: Inner products of the gradients of the present tasks.
            tasks: Numbers of the present tasks. Default: all tasks.

        Returns:
            Weights w, in the type and on the device of the Gramian. The shared parameters move along the sum of w[k] times the
            gradient of task k. A task whose gradient is zero is left out of the problem, and has weight 1.
        """

    def remember(self, gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None = None) -> None:
        """Update the state with the Gramian of a step, after `forward`; the arguments are the same."""
