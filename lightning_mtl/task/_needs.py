"""What a metric needs of the labels of a split: without it, torchmetrics returns 0 or noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import classification as classes
from torchmetrics import regression as numbers

from ..metrics import SpanF1

_RANKING = (
    classes.BinaryAUROC,
    classes.MulticlassAUROC,
    classes.MultilabelAUROC,
    classes.BinaryLogAUC,
    classes.MulticlassLogAUC,
    classes.MultilabelLogAUC,
    classes.BinaryEER,
    classes.MulticlassEER,
    classes.MultilabelEER,
)
_PRECISION = (classes.BinaryAveragePrecision, classes.MulticlassAveragePrecision, classes.MultilabelAveragePrecision)
_AGREEMENT = (
    classes.BinaryMatthewsCorrCoef,
    classes.MulticlassMatthewsCorrCoef,
    classes.MultilabelMatthewsCorrCoef,
    classes.BinaryCohenKappa,
    classes.MulticlassCohenKappa,
)
_CORRELATION = (numbers.PearsonCorrCoef, numbers.SpearmanCorrCoef, numbers.KendallRankCorrCoef)
_SPREAD = (numbers.R2Score, numbers.ExplainedVariance, numbers.RelativeSquaredError, numbers.ConcordanceCorrCoef)
_POSITIVE = (  # the subclasses too: F1
    classes.BinaryFBetaScore,
    classes.MultilabelFBetaScore,
    classes.BinaryPrecision,
    classes.MultilabelPrecision,
    classes.BinaryRecall,
    classes.MultilabelRecall,
    classes.BinaryJaccardIndex,
    classes.MultilabelJaccardIndex,
)
_NEGATIVE = (classes.BinarySpecificity, classes.MultilabelSpecificity)
# A metric that averages over columns, and the value of the argument that returns each of them.
_AVERAGES = {"average": ("macro", "none"), "multioutput": ("uniform_average", "raw_values")}


@dataclass(frozen=True)
class Needs:
    """What a metric needs of each column of labels: of each label, class or output.

    Args:
        labels: "both" needs labels that differ, "positive" one above 0, "negative" one below 1.
        predictions: Whether predictions must differ too.
        each: Whether the average over columns is taken of those that have it.
    """

    labels: str
    predictions: bool = False
    each: bool = True

    @property
    def said(self) -> str:
        """What is missing, for a message."""
        if self.predictions:
            return "labels and predictions that are not all equal"
        return {"both": "labels that are not all equal"}.get(self.labels, f"a {self.labels} label")

    def met(self, low: Tensor, high: Tensor, low_prediction: Tensor, high_prediction: Tensor) -> Tensor:
        """Return for each column whether the metric is defined, from the extremes of labels and predictions."""
        found = {"both": high > low, "positive": high > 0, "negative": low < 1}[self.labels]
        return found & (high_prediction > low_prediction) if self.predictions else found


_BY_CLASS = (
    (_RANKING, Needs("both")),
    (_PRECISION, Needs("positive")),
    (_AGREEMENT, Needs("both", each=False)),
    (_CORRELATION, Needs("both", predictions=True)),
    (_SPREAD, Needs("both")),
    (_POSITIVE, Needs("positive")),
    (_NEGATIVE, Needs("negative")),
)


def needs_of(metric: Any) -> Needs | None:
    """Return what a metric needs; None where it is always defined, or nothing is known of it."""
    return next((needs for kinds, needs in _BY_CLASS if isinstance(metric, kinds)), None)


def reason_of(metric: Any) -> str:
    """Return why a metric is not a number."""
    return "it needs a label with a span" if isinstance(metric, SpanF1) else "it is not a number"


def column_argument(metric: Any) -> tuple[str, str, str] | None:
    """Return the argument by which a metric averages over columns, its value, and the one that returns each column."""
    for name, (average, each) in _AVERAGES.items():
        if getattr(metric, name, None) == average:
            return name, average, each
    return None


def mean_of(values: Tensor, defined: Tensor) -> Tensor:
    """Return the mean of the columns in which a metric is defined."""
    return torch.where(defined.to(values.device), values, torch.nan).nanmean()
