"""The loss of a training step, over all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._distributed import sum_dtype, sum_over_ranks
from ..gradients import Moment, Step, StepBalance, SumOfLosses, TaskResult, entries_of
from ..task import Task


class SharedLosses(NamedTuple):
    """The losses of a step, and what the ranks know of each other's.

    Args:
        losses: Those of this rank, scaled so that their average over the ranks is the mean over all ranks' labelled examples.
        tasks: Their tasks.
        present: The tasks that any rank has labels for, where that matters: with a balancer, and where parameters are sharded.
        means: Their mean losses over all ranks, where these matter.
    """

    losses: Tensor
    tasks: Sequence[int]
    present: Sequence[int]
    means: Tensor


@dataclass
class _StepTasks:
    """The tasks of the batches that make an optimizer step."""

    step: int = -1
    batches: list[Sequence[int] | Tensor] = field(default_factory=list)
    """Of each batch the tasks, or how many labels all ranks have for each."""

    def add(self, step: int, tasks: Sequence[int] | Tensor) -> None:
        if self.step != step:
            self.step, self.batches = step, []
        self.batches.append(tasks)


class StepLoss:
    """Combines the losses of a step into one.

    Args:
        tasks: The tasks, in the order of their numbers.
        balance: How they are balanced.
        before: The same of the tasks of before, which knows the ranks.
    """

    def __init__(
        self, tasks: Sequence[Task] = (), balance: StepBalance | None = None, before: StepLoss | None = None
    ) -> None:
        self.balance = balance or SumOfLosses()
        self.count = len(tasks)
        weights = [task.weight for task in tasks]
        self.weights = None if all(weight == 1 for weight in weights) else weights
        """What each loss is multiplied by; None is 1 for all."""
        self.world_size: int = 1 if before is None else before.world_size
        self.sharded: bool = before is not None and before.sharded
        self._step_tasks = _StepTasks()
        self._value_read = False
        self._last: tuple[Sequence[int], Tensor] | None = None

    def start(self, optimizers: Sequence[Any] = ()) -> None:
        """Forget the steps of an earlier fit; note whether these optimizers read the value of the loss."""
        self._step_tasks, self._last = _StepTasks(), None
        self._value_read = self.world_size > 1 and any(isinstance(of, torch.optim.LBFGS) for of in optimizers)

    def valued(self, loss: Tensor) -> Tensor:
        """Return the loss of this rank, with the mean over the ranks for its value, where the optimizer reads it: ranks must decide alike."""
        if not self._value_read:
            return loss
        mean = sum_over_ranks(loss.detach().clone()) / self.world_size
        return mean + (loss - loss.detach())

    def over_ranks(self, step: Step, losses: Tensor, number: int, *, every_task: bool) -> SharedLosses:
        """Scale the losses of this rank by its share of the labels, and exchange label counts with the other ranks.

        Args:
            step: The results of the batch.
            losses: Its losses as one tensor.
            number: The number of the optimizer step.
            every_task: Whether each step is known to have labels for each task.
        """
        shared, counts = self._shared(step, losses, every_task=every_task)
        self._step_tasks.add(number, shared.present if counts is None else counts)
        self._last = shared.tasks, shared.losses.detach()
        return shared

    def _shared(self, step: Step, losses: Tensor, *, every_task: bool) -> tuple[SharedLosses, Tensor | None]:
        tasks = list(step.tasks)
        if self.world_size == 1:
            return SharedLosses(losses, tasks, tasks, losses.detach()), None
        local = label_counts(step.results, self.count, losses.device)
        if not self.balance.needs_means and not self.sharded:
            counts = sum_over_ranks(local.clone())
            return SharedLosses(self._scaled(losses, tasks, local, counts), tasks, tasks, losses), counts
        sums = torch.zeros_like(local)
        if tasks:
            sums[tasks] = losses.detach().to(sums) * local[tasks]
        counts, sums = sum_over_ranks(torch.stack([local, sums])).unbind()
        everyone = range(self.count)
        # Where labels can be missing, all ranks must know of which tasks before they go on: this waits for the device.
        present = everyone if every_task else [i for i, n in enumerate(counts.tolist()) if n]
        means = entries_of(sums / counts, present).to(losses)
        return SharedLosses(self._scaled(losses, tasks, local, counts), tasks, present, means), None

    def _scaled(self, losses: Tensor, tasks: Sequence[int], local: Tensor, counts: Tensor) -> Tensor:
        return losses * entries_of((local * self.world_size / counts).to(losses.dtype), tasks)

    def total(self, step: Step, shared: SharedLosses, at: Moment) -> Tensor:
        """Return one loss; it also depends on what ranks without labels have run for the other ranks."""
        losses, means = self._weighted(shared.losses, shared.tasks), shared.means
        if self.balance.needs_means:
            means = self._weighted(means, shared.present)
        total = self.balance.total(losses, shared.tasks, means, shared.present, at)
        for zero in self._zeros(step, shared.present):
            total = total + zero
        # All that it depends on may be frozen.
        return total if step.results or total.requires_grad else total.requires_grad_()

    def _weighted(self, losses: Tensor, tasks: Sequence[int]) -> Tensor:
        if self.weights is None or not len(losses):
            return losses
        return torch.stack([self.weights[i] * loss for i, loss in zip(tasks, losses.unbind(), strict=True)])

    def _zeros(self, step: Step, present: Sequence[int]) -> list[Tensor]:
        """Return zeros that depend on what was run without labels: other ranks have labels, or wait for these gradients."""
        zeros = [zero for task, zero in step.idle.items() if task in present]
        if step.features is not None and not (present if self.sharded else step.results):
            zeros.append(0 * step.features.sum())
        return zeros

    def last(self) -> tuple[Sequence[int], Tensor]:
        """Return the tasks of the last step, and their losses; their mean over the ranks counts."""
        assert self._last is not None, "there was no step yet"
        return self._last

    def tasks_of_step(self) -> set[int]:
        """Return the tasks of the batches that make this optimizer step, on any rank; it may wait for the device."""
        found: set[int] = set()
        for tasks in self._step_tasks.batches:
            found.update(tasks.nonzero().squeeze(-1).tolist() if isinstance(tasks, Tensor) else tasks)
        return found


def label_counts(results: Sequence[TaskResult], count: int, device: torch.device) -> Tensor:
    """Count the labels of each task on this rank: [count]."""
    counts = [0.0] * count
    for result in results:
        counts[result.task] = len(result.target)
    return torch.tensor(counts, dtype=sum_dtype(device)).to(device, non_blocking=True)
