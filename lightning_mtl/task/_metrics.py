"""The metrics of each task in each stage."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from ._far import update_far
from ._task import Task

_STAGES = ("train", "validate", "test")


class TaskMetrics(nn.Module):
    """Keeps separate metrics of each task for the stages train, validate and test.

    Args:
        tasks: The tasks, in the order of their numbers.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        self._dtype = torch.float32
        for stage in _STAGES:
            self.add_module(f"on_{stage}", nn.ModuleList([task.metric_collection() for task in tasks]))

    def update(
        self,
        stage: str,
        task: int,
        prediction: Tensor,
        target: Tensor,
        sequence: Tensor | None = None,
        offset: Tensor | None = None,
    ) -> None:
        """Update the metrics of a task.

        Args:
            stage: "train", "validate" or "test".
            task: Number of the task.
            prediction: What `Head.judged` returned for examples, or words, that have a label.
            target: Their labels.
            sequence: The row of each word.
            offset: What labels far from zero are near to; see `Head.offset`.
        """
        metrics = self._of(stage)[task]
        if len(metrics):
            # The sums of a metric must have one type on all ranks, also on ranks without an example.
            target = target.to(self._dtype) if target.is_floating_point() else target
            of = {} if sequence is None else {"sequence": sequence}
            if offset is None:
                metrics.update(prediction.to(self._dtype), target, **of)
            else:
                update_far(metrics, prediction.to(self._dtype), target, offset.to(self._dtype))

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Set the type in which metrics compute."""
        self._dtype = dtype
        for stage in _STAGES:
            for metrics in self._of(stage):
                metrics.set_dtype(dtype)

    def reset(self, stage: str) -> None:
        """Reset the metrics of a stage."""
        for metrics in self._of(stage):
            _reset(metrics)

    def compute(self, stage: str, counts: Sequence[float]) -> dict[int, dict[str, Tensor]]:
        """Compute and reset the metrics of the tasks with at least two labelled examples over all ranks.

        Returns:
            {task number: {"<stage>/<task>/<metric>": value}}, the same on all ranks.
        """
        results = {}
        with warnings.catch_warnings():  # a rank may have no example of a task
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")
            for i, metrics in enumerate(self._of(stage)):
                if len(metrics) and counts[i] >= 2:
                    values = metrics.compute().items()
                    self._refuse_several(i, values)
                    results[i] = {f"{stage}/{self.names[i]}/{name}": value for name, value in values}
                _reset(metrics)
        return results

    def _refuse_several(self, task: int, values: Iterable[tuple[str, Tensor]]) -> None:
        for name, value in values:
            if value.numel() != 1:
                raise ValueError(
                    f"`metrics` of task {self.names[task]!r} must give one number each, got {value.numel()} from {name!r}. "
                    "Average them, e.g. average='macro', or wrap it in torchmetrics' ClasswiseWrapper."
                )

    def _of(self, stage: str) -> list[MetricCollection]:
        metrics: Any = getattr(self, f"on_{stage}")
        return list(metrics)


def _reset(metrics: MetricCollection) -> None:
    with torch.inference_mode(False):  # else the states could not be changed in a later run outside of inference mode
        metrics.reset()
