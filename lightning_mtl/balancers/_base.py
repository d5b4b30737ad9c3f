"""What every balancer is: how the tasks of a step share it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from ._kept import Index, carried, index, wide

EPSILON = 1e-8
"""Added to losses before their logarithm or inverse, so that one that is exactly zero keeps the step finite."""


class Balancer(nn.Module, ABC):
    """How the tasks of a step share it.

    What a balancer keeps is kept per task, so that a step may hold only some of them: `tasks` are the numbers of those
    that are there, all of them by default. It is made for its tasks by `build`, which the module calls; one that was not
    built builds itself, for as many tasks as it is given first.

    Arguments are plain data, kept as attributes of the same name.
    """

    random: ClassVar[bool] = False
    """Whether it draws random numbers, which depend on `seed` and the step alone."""

    seed: int | None = None
    """What it draws depends on it. Default: that of the run."""
    run_seed: int | None = None
    """Seed of the run, which the module settles for all ranks and keeps in checkpoints."""
    names: tuple[str, ...] = ()
    """Names of the tasks it was built for."""
    step: int = 0
    """Number of the optimizer step, as `observe` was told."""

    def build(self, names: Sequence[str]) -> None:
        """Make what is kept of these tasks; what is known of tasks of the same name stays.

        Args:
            names: Names of all tasks, in the order of their numbers.
        """
        self.names = tuple(names)

    def observe(
        self, losses: Float[Tensor, " present"], step: int, epoch: int, tasks: Sequence[int] | None = None
    ) -> None:
        """Take in the losses of a step, once for each step of the optimizer, before it is balanced.

        Args:
            losses: Losses of the tasks that are there, times `Task.weight`, averaged over all ranks, without a graph.
            step: Number of the optimizer step, from 0.
            epoch: Number of the epoch, from 0.
            tasks: Their numbers. Default: all tasks.
        """
        self.step = step

    def drawn_by(self) -> int | None:
        """Give the seed of what is drawn; None is that of `seed_everything`, or 0."""
        return self.run_seed if self.seed is None else self.seed

    def extra_repr(self) -> str:
        """Write the arguments it was made with."""
        names = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def _begins(self, present: int, tasks: Sequence[int] | None) -> bool:
        """Build it, if nobody has."""
        if self.names:
            return False
        self.build([str(number) for number in range(present if tasks is None else max(tasks) + 1)])
        return True

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move or cast what is kept, but never below float32, where slow averages would stand still."""
        return super()._apply(lambda tensor: wide(tensor, fn(tensor)), recurse)  # type: ignore[no-untyped-call]


class LossBalancer(Balancer):
    """Balances by the losses alone: from the losses of a step to the one loss that is minimised.

    `forward` reads what is kept and changes none of it; what is kept changes in `observe` alone, and what is learned in
    the optimizer. Both stay float32 where the module is cast to half precision.
    """

    positive: bool = False
    """Whether losses must not be below zero."""
    kept: ClassVar[Mapping[str, float]] = {}
    """Names of buffers with one number for each task, and the first value of each."""
    learned: ClassVar[Mapping[str, float]] = {}
    """Names of parameters with one number for each task, and the first value of each."""

    @abstractmethod
    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Make one loss of several.

        Args:
            losses: Losses of the tasks that are there; their values are means over all ranks.
            tasks: Their numbers. Default: all tasks.
        """

    def build(self, names: Sequence[str]) -> None:
        """Make what is kept and learned of these tasks; numbers of tasks of the same name stay."""
        if self.names == tuple(names):
            return
        was = {name: number for number, name in enumerate(self.names)}
        stays = [(number, was[name]) for number, name in enumerate(names) if name in was]
        super().build(names)
        for name, first in self.kept.items():
            self.register_buffer(name, carried(getattr(self, name, None), first, len(names), stays))
        for name, first in self.learned.items():
            values = carried(getattr(self, name, None), first, len(names), stays)
            self.register_parameter(name, nn.Parameter(values))

    def give(self, name: str, values: Float[Tensor, " tasks"]) -> None:
        """Make a buffer of an argument, beside what is kept; checkpoints are without it."""
        old = getattr(self, name, values)
        self.register_buffer(name, values.to(old), persistent=False)

    def present(
        self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None
    ) -> tuple[Float[Tensor, " present"], Index]:
        """Say which of the tasks are there, in a form that indexes what is kept; None is all of them, in their order.

        Returns:
            The losses, float32 at least, and the index.

        Raises:
            ValueError: There are more or fewer losses than tasks.
        """
        losses = losses.float() if losses.itemsize < 4 else losses
        if self._begins(len(losses), tasks):
            self.to(losses.device, losses.dtype)
        expected = len(self.names if tasks is None else tasks)
        if len(losses) != expected:
            raise ValueError(
                f"`losses` must be one for each of {expected} tasks, got {len(losses)}. "
                "Give the numbers of the tasks that are there as `tasks`."
            )
        return losses, index(tasks, len(self.names), losses.device)


class GradientBalancer(Balancer):
    """Balances by the gradients: from the inner products of the tasks' gradients to the weights of their sum."""

    @abstractmethod
    def forward(
        self, gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None = None
    ) -> Float[Tensor, " present"]:
        """Weigh the tasks.

        Args:
            gramian: Inner products of the gradients of the tasks that are there.
            tasks: Their numbers. Default: all tasks.

        Returns:
            Weights w, so that the shared parameters move along the sum of w[k] times the gradient of task k. A task whose
            gradient is zero leaves the problem, and has weight 1. Of the type and device of the Gramian.
        """

    def remember(self, gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None = None) -> None:
        """Take in the Gramian of a step, once it is balanced; the arguments are those of `forward`."""
