"""Metrics of numbers that are far from zero."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.regression import (
    ConcordanceCorrCoef,
    ExplainedVariance,
    KendallRankCorrCoef,
    MeanAbsoluteError,
    MeanSquaredError,
    PearsonCorrCoef,
    R2Score,
    RelativeSquaredError,
    SpearmanCorrCoef,
)

_OF_DIFFERENCES = (
    ConcordanceCorrCoef,
    ExplainedVariance,
    KendallRankCorrCoef,
    MeanAbsoluteError,
    MeanSquaredError,
    PearsonCorrCoef,
    R2Score,
    RelativeSquaredError,
    SpearmanCorrCoef,
)
"""Metrics that stay the same if one number is subtracted from all predictions and labels."""


def update_far(metrics: MetricCollection, prediction: Tensor, target: Tensor, offset: Tensor) -> None:
    """Update metrics with numbers that are far from zero: squares of such numbers would cancel each other.

    Metrics that depend on differences alone get numbers without their offset; others, which do not share its states, get them whole.

    Args:
        metrics: The metrics of a task.
        prediction: Predictions.
        target: Labels.
        offset: What all of them are near to.
    """
    for metric in metrics.values(copy_state=False):
        near = offset.reshape(target.shape[1:]) if isinstance(metric, _OF_DIFFERENCES) else 0
        metric.update(prediction - near, target - near)
