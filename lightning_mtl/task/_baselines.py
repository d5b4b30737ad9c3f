"""The metrics of constant predictions, on the rows that the network is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from ._constants import known_constants
from ._scoring import Scoring
from ._task import Task


class Baselines(nn.Module):
    """Keeps, of each task whose score is a share of a plain baseline's, the metric of each constant prediction.

    Args:
        tasks: The tasks, in the order of their numbers.
        scorings: How their main metrics become scores.
        metrics: Their metrics, of which copies are made.
    """

    def __init__(
        self, tasks: Sequence[Task], scorings: Sequence[Scoring | None], metrics: Sequence[MetricCollection]
    ) -> None:
        super().__init__()
        self._tasks = tuple(tasks)
        self._known: dict[int, list[Tensor]] = {}
        self.of = nn.ModuleDict()
        for i, scoring in enumerate(scorings):
            if scoring is not None and scoring.needs_baseline:
                metric: Any = metrics[i][scoring.metric]
                self.of[str(i)] = nn.ModuleList([metric.clone() for _ in range(2)])

    def update(self, task: int, target: Tensor, dtype: torch.dtype, **of: Tensor) -> None:
        """Update with the labels of a task, in the form in which its metrics get them."""
        for constant, metric in zip(self._constants(task, dtype, target.device), self._metrics(task), strict=False):
            shape = (len(target), *constant.shape) if constant.ndim else target.shape
            metric.update(constant.expand(shape), target, **of)

    def compute(self, task: int) -> list[float]:
        """Return the metric of each constant prediction over all ranks; nothing where the training labels are not known."""
        if str(task) not in self.of:
            return []
        count = len(known_constants(self._tasks[task].known_head()))
        return [float(metric.compute()) for metric in self._metrics(task)[:count]]

    def reset(self) -> None:
        """Forget all rows."""
        self._known = {}
        for metrics in self.of.values():
            for metric in metrics:  # type: ignore[attr-defined]
                metric.reset()

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Set the type in which metrics compute."""
        for metrics in self.of.values():
            for metric in metrics:  # type: ignore[attr-defined]
                metric.set_dtype(dtype)

    def _metrics(self, task: int) -> list[Metric]:
        held: Any = self.of._modules.get(str(task), ())
        return list(held)

    def _constants(self, task: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        if str(task) in self.of and task not in self._known:
            found = known_constants(self._tasks[task].known_head())
            self._known[task] = [torch.tensor(of, dtype=dtype, device=device) for of in found]
        return self._known.get(task, [])
