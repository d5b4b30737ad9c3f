"""The metrics of each task in each stage."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from ._baselines import Baselines
from ._computing import defined_values
from ._extremes import KINDS, Extremes
from ._far import update_far
from ._needs import needs_of, reason_of
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
        made, scorings = [task.metric_collection() for task in tasks], [task.scoring() for task in tasks]
        for stage in _STAGES:
            self.add_module(f"on_{stage}", nn.ModuleList([of if stage == "train" else of.clone() for of in made]))
        self._plain = nn.ModuleDict({stage: Baselines(tasks, scorings, made) for stage in _STAGES[1:]})
        heads = {i: task.known_head() for i, task in enumerate(tasks) if self._has_needs(i)}
        self._watched = {i: head for i, head in heads.items() if head.kind in KINDS}
        self._extremes: dict[str, Extremes] = {}
        self.undefined: dict[int, dict[str, str]] = {}
        """{task number: {metric: what it lacks}} of the metrics that the latest `compute` left out."""
        self.partly: dict[int, dict[str, list[int]]] = {}
        """{task number: {metric: labels or outputs that the latest `compute` left out of its average}}."""

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

        Raises:
            ValueError: A metric cannot read them.
        """
        metrics = self._of(stage)[task]
        if len(metrics):
            # The sums of a metric must have one type on all ranks, also on ranks without an example.
            target = target.to(self._dtype) if target.is_floating_point() else target
            of = {} if sequence is None else {"sequence": sequence}
            predicted = prediction.to(self._dtype)
            self._extremes_of(stage).update(task, predicted, target)
            try:
                if offset is None:
                    metrics.update(predicted, target, **of)
                else:
                    update_far(metrics, predicted, target, offset.to(self._dtype))
                if stage in self._plain:
                    self._baselines(stage).update(task, target, self._dtype, **of)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                raise self._unread(metrics, task, predicted, target, error, of) from error

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Set the type in which metrics compute."""
        self._dtype = dtype
        self._extremes = {}
        for stage in _STAGES:
            for metrics in self._of(stage):
                metrics.set_dtype(dtype)
        for stage in self._plain:
            self._baselines(stage).set_dtype(dtype)

    def reset(self, stage: str) -> None:
        """Reset the metrics of a stage."""
        self._extremes_of(stage).forget()
        for metrics in self._of(stage):
            _reset(metrics)
        if stage in self._plain:
            _reset(self._baselines(stage))

    def compute(
        self, stage: str, counts: Sequence[float], device: torch.device
    ) -> tuple[dict[int, dict[str, Tensor]], dict[int, list[float]]]:
        """Compute and reset the metrics of the tasks with at least two labelled examples over all ranks.

        A metric that is not defined on these examples is left out, and noted in `undefined`. One that averages over labels or outputs
        is the average over those in which it is defined; the others are noted in `partly`.

        Args:
            stage: "train", "validate" or "test".
            counts: The labelled examples of each task, on all ranks together.
            device: Where the ranks exchange tensors.

        Returns:
            {task number: {metric: value}}, and the main metric of constant predictions for tasks whose score is a share of it; the same
            on all ranks.
        """
        results, plain = {}, {}
        extremes = self._extremes_of(stage).take(device)
        self.undefined, self.partly = {}, {}
        with (
            warnings.catch_warnings()
        ):  # a rank may have no example of a task; and what is not defined is told by the module
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")
            warnings.filterwarnings("ignore", "No (positive|negative) samples")
            warnings.filterwarnings("ignore", "The variance of predictions or target")
            warnings.filterwarnings("ignore", ".*score for one or more classes was `nan`")
            for i, metrics in enumerate(self._of(stage)):
                if len(metrics) and counts[i] >= 2:
                    results[i] = self._defined(i, metrics, extremes.get(i))
                    plain[i] = self._baselines(stage).compute(i) if stage in self._plain else []
                _reset(metrics)
            if stage in self._plain:
                _reset(self._baselines(stage))
        return results, plain

    def _defined(self, task: int, metrics: MetricCollection, extremes: Tensor | None) -> dict[str, Tensor]:
        found, lacking, partly = defined_values(metrics, extremes, self.names[task])
        self._refuse_several(task, found.items())
        numbers = {name: float(value) for name, value in found.items()}
        own = dict(metrics.items(copy_state=False))
        lacking |= {name: reason_of(own.get(name)) for name, value in numbers.items() if value != value}
        if lacking:
            self.undefined[task] = lacking
        if partly:
            self.partly[task] = partly
        return {name: value for name, value in found.items() if name not in lacking}

    def _refuse_several(self, task: int, values: Iterable[tuple[str, Tensor]]) -> None:
        for name, value in values:
            if value.numel() != 1:
                raise ValueError(
                    f"`metrics` of task {self.names[task]!r} must give one number each, got {value.numel()} from {name!r}. "
                    "Average them, e.g. average='macro', or wrap it in torchmetrics' ClasswiseWrapper."
                )

    def _unread(
        self,
        metrics: MetricCollection,
        task: int,
        prediction: Tensor,
        target: Tensor,
        error: Exception,
        of: dict[str, Tensor],
    ) -> ValueError:
        bad = [name for name, metric in metrics.items() if not _reads(metric, prediction, target, of)]
        return ValueError(
            f"`metrics` of task {self.names[task]!r} must read predictions, {_shown(prediction)}, and labels, {_shown(target)}, got "
            f"{type(error).__name__} from {', '.join(map(repr, bad or metrics))}: {error} Choose a metric for such labels, e.g. for the "
            "same number of classes, or leave `metrics` out."
        )

    def _has_needs(self, task: int) -> bool:
        metrics = self._of("train")[task].values(copy_state=False)
        return any(needs_of(metric) is not None for metric in metrics)

    def _extremes_of(self, stage: str) -> Extremes:
        return self._extremes.setdefault(stage, Extremes(self._watched, self._dtype))

    def _baselines(self, stage: str) -> Baselines:
        held: Any = self._plain[stage]
        return held  # type: ignore[no-any-return]

    def _of(self, stage: str) -> list[MetricCollection]:
        metrics: Any = getattr(self, f"on_{stage}")
        return list(metrics)


def _shown(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} of shape {list(values.shape)}"


def _reads(metric: Metric, prediction: Tensor, target: Tensor, of: dict[str, Tensor]) -> bool:
    """Return whether a metric can be updated; a copy of it is."""
    try:
        metric.clone().update(prediction, target, **metric._filter_kwargs(**of))
    except Exception:
        return False
    return True


def _reset(metrics: MetricCollection | Metric | Baselines) -> None:
    with torch.inference_mode(False):  # else the states could not be changed in a later run outside of inference mode
        metrics.reset()
