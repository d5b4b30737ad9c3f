"""The metrics of a task by their names; those of a task that was given none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryF1Score,
    MulticlassAccuracy,
    MultilabelAccuracy,
    MultilabelF1Score,
)
from torchmetrics.regression import MeanAbsoluteError, R2Score

from ..heads import Head, Tagging
from ..metrics import MacroF1, SpanF1, scheme_of


def default_metrics(task: str, head: Head) -> dict[str, Metric]:
    """Return the metrics that fit a head; the first one counts for the score.

    Args:
        task: Name of the task, for the error message.
        head: Its head.

    Raises:
        ValueError: The head is of a kind of its own.
    """
    n = head.outputs
    match head.kind:  # no metric checks labels: `Task.label` does, once
        case "binary":
            return {"accuracy": BinaryAccuracy(validate_args=False), "f1": BinaryF1Score(validate_args=False)}
        case "multiclass":
            return {"accuracy": _accuracy(n), "f1": MacroF1(n)}
        case "multilabel":
            return {
                "f1": MultilabelF1Score(n, average="macro", ignore_index=-100, validate_args=False),
                "accuracy": MultilabelAccuracy(n, ignore_index=-100, validate_args=False),
            }
        case "tagging":
            if span_scheme(head) is not None:
                return {"f1": SpanF1(cast(list[str], head.names), zero_division=math.nan), "accuracy": _accuracy(n)}
            return {"accuracy": _accuracy(n), "f1": MacroF1(n)}
        case "arcs":  # positions differ from batch to batch; a micro average does not depend on the number of classes
            return {"accuracy": _accuracy(2)}
        case "regression":
            return {"r2": _r2(n), "mae": MeanAbsoluteError()}
    raise ValueError(f"Task {task!r}: give `metrics`, since {type(head).__name__} names no known kind.")


def span_scheme(head: Head) -> str | None:
    """Return how the tags of a head mark spans, e.g. "BIO"; None where they mark none."""
    return scheme_of(head.names) if isinstance(head, Tagging) and head.names else None


def named_metrics(
    task: str, given: Metric | Sequence[Metric] | Mapping[str, Metric] | MetricCollection
) -> Mapping[str, Metric] | MetricCollection:
    """Return the metrics that a task was given by their names; those without one go by their class.

    Raises:
        ValueError: Two without a name are of one class.
    """
    if isinstance(given, Mapping | MetricCollection):
        return given
    listed = [given] if isinstance(given, Metric) else list(given)
    named = {type(metric).__name__: metric for metric in listed}
    if len(named) < len(listed):
        raise ValueError(
            f"`metrics` of task {task!r} must be of different classes where they have no names, got "
            f"{[type(metric).__name__ for metric in listed]}. Name them: metrics={{'micro': ..., 'macro': ...}}."
        )
    return named


def _accuracy(classes: int) -> Metric:
    return MulticlassAccuracy(classes, average="micro", validate_args=False)


def _r2(outputs: int) -> R2Score:
    metric = R2Score()
    if outputs > 1:  # torchmetrics learns the shape from the first update; a rank may have none
        for state in ("sum_squared_error", "sum_error", "residual"):
            metric.add_state(state, torch.zeros(outputs), dist_reduce_fx="sum")
    return metric
