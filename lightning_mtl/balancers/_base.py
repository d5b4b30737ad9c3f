"""What every balancer is: how the tasks of a step share it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn


class Balancer(nn.Module, ABC):
    """How the tasks of a step share it.

    What a balancer keeps is kept per task, so that a step may hold only some of them: `tasks` are the numbers of those
    that are there, all of them by default. It is made for its tasks by `build`, which the module calls; one that was not
    built builds itself, for as many tasks as it is given first.

    Arguments are plain data, kept as attributes of the same name.
    """

    random: ClassVar[bool] = False
    """Whether it draws random numbers, which depend on `seed` and the step alone."""

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

    def extra_repr(self) -> str:
        """Write the arguments it was made with."""
        names = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


class LossBalancer(Balancer):
    """Balances by the losses alone: from the losses of a step to the one loss that is minimised."""

    positive: ClassVar[bool] = False
    """Whether losses must be above zero."""

    @abstractmethod
    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Make one loss of several.

        Args:
            losses: Losses of the tasks that are there; their values are means over all ranks.
            tasks: Their numbers. Default: all tasks.
        """


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
