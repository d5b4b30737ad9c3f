"""How good a module is: losses, metrics and the score of a split."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .._distributed import sum_dtype, sum_over_ranks, world_size
from .._random_state import random_state, set_random_state
from ..callbacks import evaluating
from ..saving import PersistentModule
from ..task import TaskMetrics
from ._routing import Batch, Routing
from ._step import Step


class EvaluatedModule(PersistentModule):
    """A module that gathers losses and metrics of a split, and logs them over all ranks."""

    routing: Routing
    metrics: TaskMetrics
    _main_metrics: list[tuple[str, int] | None]
    _totals: Tensor | None
    scored: dict[str, int]
    """Labels of each task in the latest evaluation, on all ranks together."""

    @abstractmethod
    def run(self, batch: Batch) -> Step:
        """Compute the losses of the tasks that have labels in this batch.

        Where there is a `cut`, the features that the heads read must be led through it.
        """

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Gather losses and metrics of one batch."""
        self._evaluate(batch, "validate")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Gather losses and metrics of one batch."""
        self._evaluate(batch, "test")

    def on_validation_epoch_start(self) -> None:
        """Forget what an interrupted evaluation left."""
        self._totals = None
        self.metrics.reset("validate")

    def on_test_epoch_start(self) -> None:
        """Forget what an interrupted evaluation left."""
        self._totals = None
        self.metrics.reset("test")

    def on_validation_epoch_end(self) -> None:
        """Log the losses, metrics and score of the validation split."""
        self._log_evaluation("validate")

    def on_test_epoch_end(self) -> None:
        """Log the losses, metrics and score of the test split."""
        self._log_evaluation("test")

    def scores(self) -> dict[str, float]:
        """Give the latest validation score of each task that has one: its main metric, higher is better."""
        shown = self.trainer.callback_metrics
        keys = {
            task.name: (f"validate/{task.name}/{main[0]}", main[1])
            for task, main in zip(self.tasks, self._main_metrics, strict=True)
            if main is not None
        }
        return {name: sign * float(shown[key]) for name, (key, sign) in keys.items() if key in shown}

    def placed(self, batch: Batch) -> Batch:
        """Bring a batch to where the Trainer would have it: in its precision, on its device."""
        given = self._on_before_batch_transfer(self.trainer.precision_plugin.convert_input(batch))
        moved: Batch = self.trainer.strategy.batch_to_device(given)
        return moved

    def assess(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Score the tasks on these batches aside from training, of which it changes nothing; all ranks must call it together.

        Args:
            batches: Batches of this rank, e.g. of `MultiTaskDataModule.probe`.

        Returns:
            The main metric of each task that has one and two labelled examples, higher is better; equal on all ranks.
        """
        metrics = TaskMetrics(self.tasks)
        metrics.set_dtype(sum_dtype(self.device))
        metrics.to(self.device)
        counts = self._no_totals()[:, 0]
        state, left_out = random_state(), self.routing.left_out
        self.routing.left_out = frozenset()
        with evaluating(self), torch.no_grad(), self.trainer.precision_plugin.forward_context():
            for batch in batches:
                step = self.run(self.placed(batch))
                for task, answer in zip(step.tasks, step.answers, strict=True):
                    counts[task] += len(answer[1])
                    self._judge("validate", task, *answer, metrics=metrics)
        set_random_state(state)
        self.routing.left_out = left_out
        known = sum_over_ranks(counts).tolist()
        self._note(known)
        return self._main(metrics.compute("validate", known), "validate")

    def _note(self, counts: list[float]) -> None:
        self.scored = {task.name: int(count) for task, count in zip(self.tasks, counts, strict=True)}

    def _main(self, found: dict[int, dict[str, Tensor]], stage: str) -> dict[str, float]:
        """Pick the main metric of each task, higher is better."""
        scores = {}
        for i, group in found.items():
            if (main := self._main_metrics[i]) is not None:
                name = self.tasks[i].name
                scores[name] = main[1] * float(group[f"{stage}/{name}/{main[0]}"])
        return scores

    def _evaluate(self, batch: Batch, stage: str) -> None:
        step = self.run(batch)
        if self._totals is None:
            self._totals = self._no_totals()
        for task, loss, answer in zip(step.tasks, step.losses, step.answers, strict=True):
            if self.tasks[task].auxiliary:
                continue
            labels = len(answer[1])
            self._totals[task, 0] += loss.detach() * labels
            self._totals[task, 1] += labels
            self._judge(stage, task, *answer)

    def _log_evaluation(self, stage: str) -> None:
        sums, counts = sum_over_ranks(self._no_totals() if self._totals is None else self._totals).T.tolist()
        self._totals = None
        self._note(counts)
        means = {task.name: sums[i] / counts[i] for i, task in enumerate(self.tasks) if counts[i]}
        values = {f"{stage}/{name}/loss": mean for name, mean in means.items()}
        values[f"{stage}/loss"] = sum(task.weight * means[task.name] for task in self.tasks if task.name in means)
        found = self.metrics.compute(stage, counts)
        scores = self._main(found, stage).values()
        for group in found.values():
            values |= {key: float(value) for key, value in group.items()}
        self._warn_unscored(stage, counts)
        if self.trainer.barebones:
            return
        synced = world_size() > 1  # the values are equal on all ranks already; this says so to Lightning
        self.log_dict(values, sync_dist=synced)
        if scores:
            self.log(f"{stage}/score", sum(scores) / len(scores), prog_bar=True, sync_dist=synced)

    def _no_totals(self) -> Tensor:
        return torch.zeros(len(self.tasks), 2, dtype=sum_dtype(self.device), device=self.device)

    def _warn_unscored(self, stage: str, counts: list[float]) -> None:
        few = [
            task.name
            for i, task in enumerate(self.tasks)
            if counts[i] < 2 and not self.routing.idle(i) and not task.auxiliary
        ]
        if few and not self.trainer.sanity_checking:
            warnings.warn(
                f"Fewer than two labelled examples to {stage} {few} on: their metrics are left out.", stacklevel=1
            )

    def _judge(
        self,
        stage: str,
        task: int,
        prediction: Tensor,
        target: Tensor,
        sequence: Tensor | None,
        metrics: TaskMetrics | None = None,
    ) -> None:
        head: Any = self.heads[self.tasks[task].name]
        (metrics or self.metrics).update(stage, task, head.judged(head.predict(prediction)), target, sequence)
