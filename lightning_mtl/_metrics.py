"""The metrics of every task in every stage."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import MetricCollection

from .task import Task


class TaskMetrics(nn.Module):
    """Keeps each task's metrics apart for the stages train, validate and test.

    Args:
        tasks: The tasks, in the order of their numbers.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        for stage in ("train", "validate", "test"):
            self.add_module(f"on_{stage}", nn.ModuleList([task.metric_collection() for task in tasks]))

    def update(self, stage: str, task: int, prediction: Tensor, target: Tensor) -> None:
        """Take in what was predicted, as `Head.predict` gives it, for examples that have a label."""
        metrics = self._of(stage)[task]
        if len(metrics):
            # Sums of a metric must have one type on all ranks, those included that hold no example.
            metrics.update(prediction.float(), target.float() if target.is_floating_point() else target)

    def compute(self, stage: str, counts: Sequence[float]) -> dict[int, dict[str, Tensor]]:
        """Compute and reset the metrics of the tasks with two labelled examples or more, counted over all ranks.

        Returns:
            {task number: {"<stage>/<task>/<metric>": value}}, the same on all ranks.
        """
        results = {}
        with warnings.catch_warnings():  # a rank may hold no example of a task
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")
            for i, metrics in enumerate(self._of(stage)):
                if len(metrics) and counts[i] >= 2:
                    values = metrics.compute().items()
                    results[i] = {f"{stage}/{self.names[i]}/{name}": value for name, value in values}
                metrics.reset()
        return results

    def _of(self, stage: str) -> list[MetricCollection]:
        metrics: Any = getattr(self, f"on_{stage}")
        return list(metrics)
