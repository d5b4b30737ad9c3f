"""The losses that a balancer observes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._lightning import steps_next
from ..balancers import Balancer

Losses = tuple[Sequence[int], Tensor]
"""Tasks, by their numbers, and the loss of each."""


class Moment:
    """The time of a step. The Trainer is asked only where it matters, so that a loop of the user's own needs none.

    Args:
        step: The number of the optimizer step.
        module: The module that is trained.
    """

    __slots__ = ("_module", "step")

    def __init__(self, step: int, module: Any) -> None:
        self.step = step
        self._module = module

    @property
    def epoch(self) -> int:
        """The number of the epoch."""
        return int(self._module.trainer.current_epoch)

    @property
    def again(self) -> bool:
        """Whether the optimizer runs a batch once more within its step."""
        return bool(self._module.train_log.again)

    @property
    def last(self) -> bool:
        """Whether the batch is the last one before the optimizer steps."""
        return steps_next(self._module.trainer)


class ObservedLosses:
    """Shows a balancer the mean losses of each optimizer step, once.

    Args:
        balancer: The balancer.
        extend: Adds the losses of what else the balancer weighs. Default: nothing.
    """

    def __init__(self, balancer: Balancer, extend: Callable[[Sequence[int], Tensor], Losses] | None = None) -> None:
        self.balancer: Any = balancer
        self.extend = extend
        self.batches: list[Losses] = []
        """The losses of the batches since the last optimizer step."""

    def add(self, tasks: Sequence[int], losses: Tensor, at: Moment) -> None:
        """Add the losses of a batch; with the last batch before an optimizer step the balancer observes their means, once."""
        self.balancer.step = at.step
        if at.again:
            return
        self.batches.append((tasks, losses))
        if not at.last:
            return
        tasks, losses = mean_losses(self.batches)
        self.batches = []
        if tasks:
            if self.extend is not None:
                tasks, losses = self.extend(tasks, losses)
            self.balancer.observe(losses, at.step, at.epoch, tasks)


def mean_losses(batches: Sequence[Losses]) -> Losses:
    """Average the losses of several batches, by task: the tasks that any batch had, and their means."""
    if len(batches) == 1:
        return batches[0]
    found: dict[int, list[Tensor]] = {}
    for present, losses in batches:
        for task, loss in zip(present, losses.unbind(), strict=True):
            found.setdefault(task, []).append(loss)
    tasks = sorted(found)
    return tasks, torch.stack([torch.stack(found[task]).mean() for task in tasks]) if tasks else torch.zeros(0)
