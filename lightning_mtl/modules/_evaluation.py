"""Losses, metrics and the score of a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._distributed import sum_dtype, sum_over_ranks
from .._plain import escaped
from ..gradients import Step, TaskResult
from ..heads import at_least_float32
from ..task import Routing, Task, TaskMetrics, precision_of
from ._left_out import LeftOut
from ._step_loss import label_counts

Gathered = tuple[TaskMetrics, Tensor]
"""Metrics that were updated with predictions, and the summed loss and number of labels of each task, on this rank."""


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
        self.latest: dict[str, float] = {}
        """The scores of the tasks in the latest validation."""
        self.logged: dict[str, set[str]] = {}
        """The names of what was logged of each stage last."""
        self.left_out = LeftOut()

    def follow(self, tasks: Sequence[Task]) -> None:
        """Evaluate these tasks from now on; all heads must be known."""
        self.tasks = tuple(tasks)
        self.scorings = [task.scoring() for task in tasks]

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
                self._add_to(self._totals, result)
                self._update(self._module.metrics, stage, result)

    def finish(self, stage: str, device: torch.device) -> tuple[dict[str, float], float | None]:
        """Return losses and metrics over all ranks, and the score if a task has one."""
        sums, counts = sum_over_ranks(self._no_totals(device) if self._totals is None else self._totals).T.tolist()
        self._totals = None
        self._set_scored(counts)
        means = {task.name: sums[i] / counts[i] for i, task in enumerate(self.tasks) if counts[i]}
        values = {f"{stage}/{escaped(name)}/loss": mean for name, mean in means.items()}
        values[f"{stage}/loss"] = sum(task.weight * means[task.name] for task in self.tasks if task.name in means)
        found, scores = self._computed(self._module.metrics, stage, sums, counts, device)
        if stage == "validate":
            self.latest = scores
        for i, group in found.items():
            values |= {f"{stage}/{self.tasks[i].log_name}/{name}": value for name, value in group.items()}
        return values, sum(scores.values()) / len(scores) if scores else None

    def warn_left_out(self, stage: str, routing: Routing) -> None:
        """Warn of tasks that had too few labels in the latest evaluation, and of metrics that are not defined."""
        tasks = [task.name for i, task in enumerate(self.tasks) if not routing.idle(i) and not task.auxiliary]
        few = [name for name in tasks if self.scored[name] < 2]
        self.left_out.warn(stage, few, on=self._module.trainer.is_global_zero)

    def warn_never_defined(self) -> None:
        """Warn of training metrics that were defined in none of the batches whose metrics were logged, if these are not few."""
        self.left_out.warn("train", [], on=self._module.trainer.is_global_zero)

    def start_run(self) -> None:
        """Forget an earlier run: its scores, and what was told of it."""
        self.latest, self.left_out = {}, LeftOut()

    @property
    def has_scores(self) -> bool:
        """Whether a task has a metric that counts for the score."""
        return any(scoring is not None for scoring in self.scorings)

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
        totals = self._no_totals(device)
        for batch in batches:
            for result in run(batch).results:
                self._add_to(totals, result)
                self._update(metrics, "validate", result)
        return metrics, totals

    def scores_of(self, gathered: Gathered) -> dict[str, float]:
        """Return the score of each task on collected predictions, over all ranks; higher is better."""
        metrics, totals = gathered
        sums, counts = sum_over_ranks(totals).T.tolist()
        self._set_scored(counts)
        scores: dict[str, float] = self._computed(metrics, "validate", sums, counts, totals.device)[1]
        return scores

    def training_metrics(self, results: Sequence[TaskResult], device: torch.device) -> dict[str, float]:
        """Return the metrics of a training batch; all ranks must call it together."""
        for result in results:
            self._update(self._module.metrics, "train", result)
        counts = sum_over_ranks(label_counts(results, len(self.tasks), device)).tolist()
        found, _ = self._computed(self._module.metrics, "train", counts, counts, device)
        return {
            f"train/{self.tasks[i].log_name}/{name}": value for i, of in found.items() for name, value in of.items()
        }

    def _no_totals(self, device: torch.device) -> Tensor:
        return torch.zeros(len(self.tasks), 2, dtype=sum_dtype(device), device=device)

    def _set_scored(self, counts: Sequence[float]) -> None:
        self.scored = {task.name: int(count) for task, count in zip(self.tasks, counts, strict=True)}

    def _add_to(self, totals: Tensor, result: TaskResult) -> None:
        labels = len(result.target)
        totals[result.task, 0] += result.loss.detach() * labels
        totals[result.task, 1] += labels

    def _computed(
        self, metrics: TaskMetrics, stage: str, sums: Sequence[float], counts: Sequence[float], device: torch.device
    ) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
        """Return the metrics of each task, and the scores of those that have one; note what is not defined."""
        computed, plain = metrics.compute(stage, counts, device)
        found = {i: {name: float(value) for name, value in group.items()} for i, group in computed.items()}
        scores = {}
        for i, values in found.items():
            name = self.tasks[i].name
            self.left_out.note(stage, name, metrics.undefined.get(i, {}), values)
            self.left_out.note_partial(stage, name, metrics.partly.get(i, {}), self.tasks[i].known_head().called)
            score = self._score(stage, i, values, plain[i], finite=math.isfinite(sums[i]))
            if score is not None:
                scores[name] = score
        return found, scores

    def _score(
        self, stage: str, task: int, values: Mapping[str, float], plain: Sequence[float], *, finite: bool
    ) -> float | None:
        """Return the score of a task; None where it is not defined, and NaN where its network predicts no numbers."""
        scoring = self.scorings[task]
        if scoring is None or stage == "train":
            return None
        value = values.get(scoring.metric, math.nan)
        score = value if math.isnan(value) else scoring(value, plain)
        if math.isnan(score) and finite:
            self.left_out.note_score(stage, scoring, computed=not math.isnan(value), known=bool(plain))
            return None
        return score

    def _update(self, metrics: TaskMetrics, stage: str, result: TaskResult) -> None:
        head: Any = self._module.heads[self.tasks[result.task].name]
        predicted = head.judged(head.predict(at_least_float32(result.prediction)))
        metrics.update(stage, result.task, predicted, head.decode(result.target), result.sequence, head.offset)


def read_precision(module: Any) -> torch.dtype | None:
    """Return the precision in which a module reads inputs: an earlier Trainer may have left another one than this Trainer's."""
    return None if module.sharded else precision_of(module.encoder)
