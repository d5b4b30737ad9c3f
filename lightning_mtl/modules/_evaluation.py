"""Losses, metrics and the score of a split."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._distributed import sum_dtype, sum_over_ranks
from ..gradients import Step, TaskResult
from ..heads import at_least_float32
from ..task import Routing, Task, TaskMetrics, precision_of
from ._step_loss import label_counts

Gathered = tuple[TaskMetrics, Tensor]
"""Metrics that were updated with predictions, and the number of labels of each task, on this rank."""


class Evaluation:
    """Adds up losses and metrics of a split, over all ranks.

    Args:
        module: The module, whose heads and metrics may be replaced.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._totals: Tensor | None = None
        self.scored: dict[str, int] = {}
        """Labels of each task in the latest evaluation, on all ranks together."""

    def follow(self, tasks: Sequence[Task]) -> None:
        """Evaluate these tasks from now on; all heads must be known."""
        self.tasks = tuple(tasks)
        self.main_metrics = [task.main_metric() for task in tasks]

    def start(self, stage: str) -> None:
        """Discard the sums of an interrupted evaluation."""
        self._totals = None
        self._module.routing.precision = read_precision(self._module)
        self._module.metrics.reset(stage)

    def add(self, step: Step, stage: str, device: torch.device) -> None:
        """Add the losses and predictions of a batch."""
        if self._totals is None:
            self._totals = self._no_totals(device)
        for result in step.results:
            if not self.tasks[result.task].auxiliary:
                labels = len(result.target)
                self._totals[result.task, 0] += result.loss.detach() * labels
                self._totals[result.task, 1] += labels
                self._update(self._module.metrics, stage, result)

    def finish(self, stage: str, device: torch.device) -> tuple[dict[str, float], float | None]:
        """Return losses and metrics over all ranks, and the score if a task has one."""
        sums, counts = sum_over_ranks(self._no_totals(device) if self._totals is None else self._totals).T.tolist()
        self._totals = None
        self._set_scored(counts)
        means = {task.name: sums[i] / counts[i] for i, task in enumerate(self.tasks) if counts[i]}
        values = {f"{stage}/{name}/loss": mean for name, mean in means.items()}
        values[f"{stage}/loss"] = sum(task.weight * means[task.name] for task in self.tasks if task.name in means)
        found = self._module.metrics.compute(stage, counts)
        scores = self._main(found, stage).values()
        for group in found.values():
            values |= {key: float(value) for key, value in group.items()}
        return values, sum(scores) / len(scores) if scores else None

    def warn_unscored(self, stage: str, routing: Routing) -> None:
        """Warn of tasks that had too few labels in the latest evaluation."""
        tasks = [task.name for i, task in enumerate(self.tasks) if not routing.idle(i) and not task.auxiliary]
        if few := [name for name in tasks if self.scored[name] < 2]:
            warnings.warn(
                f"Fewer than two labelled examples to {stage} {few} on: their metrics are left out.", stacklevel=1
            )

    def gather(self, batches: Iterable[Any], run: Callable[[Any], Step], device: torch.device) -> Gathered:
        """Collect the predictions for these batches, apart from those of the splits.

        Args:
            batches: Batches of this rank.
            run: Runs a batch.
            device: The device of the module.
        """
        metrics = TaskMetrics(self.tasks)
        metrics.set_dtype(sum_dtype(device))
        metrics.to(device)
        counts = self._no_totals(device)[:, 0]
        for batch in batches:
            for result in run(batch).results:
                counts[result.task] += len(result.target)
                self._update(metrics, "validate", result)
        return metrics, counts

    def main_metrics_of(self, gathered: Gathered) -> dict[str, float]:
        """Return the main metric of each task on collected predictions, over all ranks; higher is better."""
        metrics, counts = gathered
        known = sum_over_ranks(counts).tolist()
        self._set_scored(known)
        return self._main(metrics.compute("validate", known), "validate")

    def training_metrics(self, results: Sequence[TaskResult], device: torch.device) -> dict[str, float]:
        """Return the metrics of a training batch; all ranks must call it together."""
        for result in results:
            self._update(self._module.metrics, "train", result)
        counts = sum_over_ranks(label_counts(results, len(self.tasks), device)).tolist()
        groups = self._module.metrics.compute("train", counts).values()
        return {name: value.item() for group in groups for name, value in group.items()}

    def scores(self, logged: Mapping[str, Any]) -> dict[str, float]:
        """Return the latest validation score of each task that has one: its main metric, higher is better."""
        keys = {
            task.name: (f"validate/{task.name}/{main[0]}", main[1])
            for task, main in zip(self.tasks, self.main_metrics, strict=True)
            if main is not None
        }
        return {name: sign * float(logged[key]) for name, (key, sign) in keys.items() if key in logged}

    def _no_totals(self, device: torch.device) -> Tensor:
        return torch.zeros(len(self.tasks), 2, dtype=sum_dtype(device), device=device)

    def _set_scored(self, counts: Sequence[float]) -> None:
        self.scored = {task.name: int(count) for task, count in zip(self.tasks, counts, strict=True)}

    def _main(self, found: dict[int, dict[str, Tensor]], stage: str) -> dict[str, float]:
        """Return the main metric of each task, higher is better."""
        scores = {}
        for i, group in found.items():
            if (main := self.main_metrics[i]) is not None:
                name = self.tasks[i].name
                scores[name] = main[1] * float(group[f"{stage}/{name}/{main[0]}"])
        return scores

    def _update(self, metrics: TaskMetrics, stage: str, result: TaskResult) -> None:
        head: Any = self._module.heads[self.tasks[result.task].name]
        predicted = head.judged(head.predict(at_least_float32(result.prediction)))
        metrics.update(stage, result.task, predicted, head.decode(result.target), result.sequence, head.offset)


def read_precision(module: Any) -> torch.dtype | None:
    """Return the precision in which a module reads inputs: an earlier Trainer may have left another one than this Trainer's."""
    return None if module.sharded else precision_of(module.encoder)
