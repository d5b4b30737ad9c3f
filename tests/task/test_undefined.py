"""A metric that is not defined on a split is left out; an average is one of what is defined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics import classification as classes
from torchmetrics import regression as numbers

from lightning_mtl import Binary, Head, Multiclass, Multilabel, Regression, Tagging, Task
from lightning_mtl.task import TaskMetrics
from tests.cases import over

CPU = torch.device("cpu")
SHARES = torch.rand(12, generator=torch.Generator().manual_seed(0))
SEVERAL = torch.rand(12, 3, generator=torch.Generator().manual_seed(1)).softmax(-1)
ZEROS, ONES, HALF = torch.zeros(12, dtype=torch.long), torch.ones(12, dtype=torch.long), torch.arange(12) % 2


def judged(head: Head, metrics: Any, prediction: Tensor, target: Tensor) -> tuple[dict[str, float], TaskMetrics]:
    """Return the metrics of one task on rows that come in two batches, in float64."""
    of = TaskMetrics([Task("t", head=head, metrics=metrics)])
    of.set_dtype(torch.float64)
    for part in (slice(0, 7), slice(7, None)):
        of.update("test", 0, prediction[part], target[part])
    found, _ = of.compute("test", [float(len(target))], CPU)
    return {name: float(value) for name, value in found[0].items()}, of


class _Count(Metric):
    """A metric that is always defined, and says which direction is better: not all do."""

    higher_is_better = True

    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.rows += len(target)

    def compute(self) -> Tensor:
        assert isinstance(self.rows, Tensor)
        return self.rows


def cases() -> list[tuple[Head, Metric, Tensor, Tensor]]:
    made: list[tuple[Head, Metric, Tensor, Tensor]] = []
    both = (classes.BinaryAUROC, classes.BinaryMatthewsCorrCoef, classes.BinaryCohenKappa, classes.BinaryLogAUC)
    positive = (
        classes.BinaryF1Score,
        classes.BinaryPrecision,
        classes.BinaryRecall,
        classes.BinaryAveragePrecision,
        classes.BinaryJaccardIndex,
    )
    made += [(Binary(), kind(), SHARES, target) for kind in both for target in (ZEROS, ONES)]
    made += [(Binary(), kind(), SHARES, ZEROS) for kind in positive]
    made += [(Binary(), classes.BinarySpecificity(), SHARES, ONES)]
    spread = (numbers.R2Score, numbers.ExplainedVariance, numbers.ConcordanceCorrCoef, numbers.PearsonCorrCoef)
    made += [(Regression(), kind(), SHARES, torch.full((12,), 0.3)) for kind in spread]
    made += [(Regression(), numbers.PearsonCorrCoef(), torch.full((12,), 0.3), SHARES)]
    made += [
        (Multiclass(3), kind(3), SEVERAL, ONES) for kind in (classes.MulticlassAUROC, classes.MulticlassCohenKappa)
    ]
    made += [
        (Multilabel(3), kind(3), SEVERAL, torch.zeros(12, 3).long())
        for kind in (classes.MultilabelF1Score, classes.MultilabelAUROC)
    ]
    return made


@over(("head", "metric", "prediction", "target"), cases(), ids=lambda value: type(value).__name__)
def test_a_metric_that_is_not_defined_is_left_out_and_never_0(
    head: Head, metric: Metric, prediction: Tensor, target: Tensor
) -> None:
    found, of = judged(head, {"count": _Count(), "metric": metric}, prediction, target)
    assert found == {"count": 12}
    assert list(of.undefined[0]) == ["metric"]


class _Mean(Metric):
    """The mean of predictions, NaN where there are labels below 0."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        assert isinstance(self.seen, list)
        self.seen.append(preds.where(target >= 0, torch.nan))

    def compute(self) -> Tensor:
        return torch.cat(self.seen).mean()  # type: ignore[arg-type]


def test_a_metric_of_ones_own_is_left_out_where_it_is_nan() -> None:
    assert judged(Regression(), [_Mean()], SHARES, SHARES)[0] == {"_Mean": pytest.approx(SHARES.mean().item())}
    found, of = judged(Regression(), [_Mean()], SHARES, -SHARES)
    assert (found, of.undefined) == ({}, {0: {"_Mean": "it is not a number"}})


def test_the_f1_of_spans_is_left_out_where_no_label_has_one() -> None:
    head = Tagging(3, names=["O", "B-PER", "I-PER"])
    words = torch.eye(3)[torch.arange(12) % 3]
    for tags, left_out in (
        (torch.zeros(12, dtype=torch.long), {0: {"f1": "it needs a label with a span"}}),
        (torch.arange(12) % 3, {}),
    ):
        metrics = TaskMetrics([Task("t", head=head)])
        metrics.update("test", 0, words, tags, torch.zeros(12, dtype=torch.long))
        found, _ = metrics.compute("test", [12.0], torch.device("cpu"))
        assert ("f1" in found[0], metrics.undefined) == (not left_out, left_out)


LACKING = torch.stack([HALF, ZEROS, torch.arange(12) % 3 // 2], 1)  # the second label has no positive


@pytest.mark.parametrize(
    "kind",
    [classes.MultilabelF1Score, classes.MultilabelRecall, classes.MultilabelAUROC, classes.MultilabelAveragePrecision],
)
def test_an_average_over_labels_is_over_those_that_have_a_positive(kind: type[Metric]) -> None:
    found, of = judged(Multilabel(3), {"m": kind(3, average="macro")}, SEVERAL, LACKING)  # type: ignore[call-arg]
    there = [0, 2]
    alone = kind(2, average="macro")  # type: ignore[call-arg]
    assert found["m"] == pytest.approx(float(alone(SEVERAL[:, there].double(), LACKING[:, there])))
    assert of.partly == {0: {"m": [1]}}
    held: Any = of.on_test
    kept = dict(held[0].items())["m"]
    assert kept.average == "macro"


def test_auroc_of_classes_is_the_average_over_those_that_occur() -> None:
    found, of = judged(Multiclass(3), {"auroc": classes.MulticlassAUROC(3)}, SEVERAL, HALF)
    each = [classes.BinaryAUROC()(SEVERAL[:, i].double(), torch.eq(HALF, i).long()) for i in (0, 1)]
    assert found["auroc"] == pytest.approx(float(sum(each)) / 2)
    assert of.partly == {0: {"auroc": [2]}}


def test_r2_is_the_average_over_outputs_that_vary() -> None:
    target = torch.stack([SHARES, torch.full((12,), 2.0)], 1)
    found, of = judged(Regression(2), None, SEVERAL[:, :2], target)
    assert found["r2"] == pytest.approx(float(numbers.R2Score()(SEVERAL[:, 0].double(), SHARES.double())))
    assert of.partly == {0: {"r2": [1]}}
    assert found["mae"] == pytest.approx((SEVERAL[:, :2] - target).abs().mean().item())


def test_names_with_a_prefix_are_found() -> None:
    collection = MetricCollection([classes.BinaryAUROC(), classes.BinaryAccuracy()], prefix="my_")
    found, of = judged(Binary(), collection, SHARES, ZEROS)
    assert list(found) == ["my_BinaryAccuracy"]
    assert list(of.undefined[0]) == ["my_BinaryAUROC"]


def values(target: Sequence[float]) -> dict[str, float]:
    return judged(Regression(), None, SHARES, torch.tensor(target))[0]


def test_what_is_defined_is_what_torchmetrics_says_bit_for_bit() -> None:
    r2 = numbers.R2Score().set_dtype(torch.float64)
    target = torch.linspace(-1, 2, 12)
    for part in (slice(0, 7), slice(7, None)):
        r2.update(SHARES[part].double(), target[part].double())
    assert values(target.tolist())["r2"] == r2.compute().item()


def test_what_cannot_be_read_names_the_task_and_the_metric() -> None:
    right = {"accuracy": classes.MulticlassAccuracy(3), "auroc": classes.MulticlassAUROC(4)}
    with pytest.raises(ValueError, match=r"`metrics` of task 't' must read .* of shape \[7, 3\].* from 'auroc': .*"):
        judged(Multiclass(3), right, SEVERAL, HALF)
    with pytest.raises(
        ValueError, match=r"`metrics` of task 't' \('_Fails'\) must be computable .* got IndexError: none"
    ):
        judged(Regression(), [_Fails()], SHARES, SHARES)


class _Fails(_Mean):
    def compute(self) -> Tensor:
        raise IndexError("none")
