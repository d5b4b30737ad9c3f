"""Losses and metrics of training, as they are logged."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import lightning as L
from torch import Tensor

from .._lightning import publish, sampler_of_data
from .._plain import escaped
from ..callbacks import LossHistory
from ..gradients import Step, TaskResult
from ..task import Routing, Task

if TYPE_CHECKING:
    from ._base import TaskModule

EVERY = 50
"""Steps between two checks that losses are finite, where the Trainer logs nothing."""


class TrainLog:
    """Keeps the losses of each step on the device, and logs them, with metrics, every `log_every_n_steps`."""

    def __init__(self) -> None:
        self.extra_values: list[Callable[[], dict[str, float]]] = []
        """Functions that return values to log with the training losses; callbacks add theirs."""
        self.listeners: list[Callable[[int, dict[str, float]], None]] = []
        """Functions that are called with the step and the values that are logged at it; callbacks add theirs."""
        self.step = 0
        """The number of optimizer steps so far."""
        self.every = EVERY
        self.logged_at = 0
        self.last_batch: float = -1
        """The number of the last batch of the epoch; its metrics are logged."""
        self.seen: set[int] = set()
        """Tasks that had labels."""
        self._calls: int | None = None
        """How often this batch was run; None where batches are not counted."""
        self.follow(())

    def follow(self, tasks: Sequence[Task], positive: str | None = None) -> None:
        """Log these tasks from now on.

        Args:
            tasks: The tasks, in the order of their numbers.
            positive: Name of the balancer that needs losses of at least 0, if there is one.
        """
        self.tasks = tuple(tasks)
        self.weights = [task.weight for task in tasks]
        self.history = LossHistory(tuple(task.name for task in tasks), positive)
        self._results: list[TaskResult] = []
        self._read: tuple[dict[str, float], dict[str, float]] | None = None
        """Losses and metrics that were published, and not logged yet."""

    def start(self, trainer: L.Trainer) -> None:
        """Forget an earlier fit."""
        self.history.clear()
        self._results, self._read, self._calls = [], None, None
        self.step = self.logged_at = trainer.global_step
        self.every = getattr(trainer, "log_every_n_steps", 0) or EVERY
        # Which tasks had labels before a resume is not known.
        self.seen = set(range(len(self.tasks))) if trainer.ckpt_path else set()
        self.last_batch = -1

    @property
    def again(self) -> bool:
        """Whether the optimizer runs the batch once more, as LBFGS and SAM do: what is logged and observed is the first run, by the weights before the step."""
        return self._calls is not None and self._calls > 1

    def begin_batch(self, automatic: bool) -> None:
        """Count how often the batch that begins is run, unless the user's own code does the steps of the optimizer."""
        self._calls = 0 if automatic else None

    def add(self, step: Step, tasks: Sequence[int], losses: Tensor, batch_idx: int) -> None:
        """Keep the losses of a step; and its predictions, if their metrics are to be logged."""
        self._calls = None if self._calls is None else self._calls + 1
        if self.again:
            return
        self.history.append(self.step, tasks, losses)
        if (self.step + 1) % self.every == 0 or batch_idx == self.last_batch:
            self._results = [
                replace(result, loss=result.loss.detach(), prediction=result.prediction.detach())
                for result in step.results
            ]

    def is_due(self, step: int) -> bool:
        """Note the number of optimizer steps, and return whether losses are to be logged: once the batch is over."""
        self.step, self._calls = step, None
        return step % self.every == 0 and step != self.logged_at

    def refuse_bad_losses(self) -> None:
        """Check the losses that were not logged yet.

        Raises:
            ValueError: A loss was not finite.
        """
        if len(self.history):
            self.history.read()

    def publish(self, trainer: L.Trainer, module: TaskModule) -> None:
        """Let callbacks read the losses and metrics that were not logged yet.

        Raises:
            ValueError: A loss was not finite.
        """
        values = self._values(module)
        self.history.clear()
        metrics = module.task_evaluation.training_metrics(self._results, module.device)
        self._results, self._read = [], (values, metrics)
        publish(trainer, {**values, **metrics}, ["train/loss"])

    def show(self, trainer: L.Trainer, module: TaskModule) -> None:
        """Let callbacks read the losses since the last log, between two logs; what is logged stays as it is.

        Raises:
            ValueError: A loss was not finite.
        """
        if len(self.history):
            publish(trainer, self._values(module), ["train/loss"])

    def _values(self, module: TaskModule) -> dict[str, float]:
        losses, present = self.history.read()
        self.seen.update(present.any(0).nonzero().squeeze(-1).tolist())
        values = {"train/loss": (losses @ losses.new_tensor(self.weights)).mean().item()}
        means = (losses.sum(0) / present.sum(0)).tolist()
        values |= {
            f"train/{task.log_name}/loss": mean
            for task, mean in zip(self.tasks, means, strict=True)
            if not math.isnan(mean)
        }
        values |= self._loss_shares(losses)
        if (balance := module.balance) is not None:
            weights_of = zip(balance.tasks, balance.weights.tolist(), strict=True)
            values |= {f"train/{escaped(name)}/loss_weight": weight for name, weight in weights_of}
        return values

    def write(self, trainer: L.Trainer, module: TaskModule) -> None:
        """Log what was not logged yet, with the values of callbacks.

        Raises:
            ValueError: A loss was not finite.
        """
        if self._read is None:
            self.publish(trainer, module)
        assert self._read is not None
        (values, metrics), self._read = self._read, None
        self.logged_at = self.step
        for more in self.extra_values:
            values |= more()
        values |= metrics
        publish(trainer, values, ["train/loss"])
        for listen in self.listeners:
            listen(self.step, values)
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=self.step - 1)

    def _loss_shares(self, losses: Tensor) -> dict[str, float]:
        """Return the share of each task in the minimised loss."""
        if len(self.tasks) == 1:
            return {}
        sums = losses.sum(0) * losses.new_tensor(self.weights)
        shares = (sums / sums.sum()).tolist()
        return {f"train/{task.log_name}/loss_share": share for task, share in zip(self.tasks, shares, strict=True)}

    def warn_untrained(self, trainer: L.Trainer, routing: Routing) -> None:
        """Warn of tasks that had no labels so far, though their source was drawn."""
        sampler = sampler_of_data(trainer)
        undrawn = [] if sampler is None else [name for name in sampler.names if not sampler.drawn_rows(name)]
        known = self.seen | {task for name in undrawn for task in routing.readers(name)}
        unseen = [task.name for i, task in enumerate(self.tasks) if i not in known and not routing.idle(i)]
        if unseen:
            warnings.warn(
                f"No batch of the first epoch had labels for {unseen}: check the sources and target columns of these tasks.",
                stacklevel=1,
            )
