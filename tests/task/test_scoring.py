"""What a metric counts for the score."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics import classification as classes
from torchmetrics import regression as numbers

from lightning_mtl import Arcs, Binary, Head, Multiclass, Multilabel, Regression, Tagging, Task
from lightning_mtl.heads import Head as Base
from lightning_mtl.task import Scoring, TaskMetrics
from lightning_mtl.task._arguments import refuse_score
from lightning_mtl.task._constants import constants_of


def scoring(head: Head, metric: Metric | None, **options: Any) -> Scoring:
    found = Task("t", head=head, metrics=metric, **options).scoring()
    assert found is not None
    return found


@pytest.mark.parametrize(
    "head",
    [Binary(), Multiclass(3), Multilabel(3), Tagging(3), Tagging(3, names=["O", "B-A", "I-A"]), Arcs(4), Regression()],
    ids=str,
)
def test_a_default_metric_counts_as_it_is(head: Base) -> None:
    found = scoring(head, None)
    assert not found.needs_baseline
    assert found(0.37, []) == 0.37
    assert found(1.0, []) == 1.0


@pytest.mark.parametrize(
    ("metric", "value", "score"),
    [
        (numbers.ConcordanceCorrCoef(), -0.4, -0.4),
        (numbers.R2Score(), -7.5, -7.5),
        (classes.BinaryHammingDistance(), 0.2, 0.8),
        (numbers.SymmetricMeanAbsolutePercentageError(), 0.5, 0.75),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_declared_range_ends_at_1(metric: Metric, value: float, score: float) -> None:
    assert scoring(Regression(), metric)(value, []) == pytest.approx(score)


@pytest.mark.parametrize("metric", [numbers.MeanAbsoluteError(), numbers.MeanSquaredError(), classes.BinaryHingeLoss()])
def test_an_error_without_bound_counts_as_a_share_of_the_better_constant(metric: Metric) -> None:
    found = scoring(Regression(), metric)
    assert found.needs_baseline
    assert found(2.0, [8.0, 4.0]) == pytest.approx(0.5)
    assert found(4.0, [4.0, 5.0]) == 0.0
    assert found(0.0, [4.0]) == 1.0
    assert found(6.0, [4.0, math.nan]) == pytest.approx(-0.5)


def test_a_share_of_nothing_is_not_defined() -> None:
    found = scoring(Regression(), numbers.MeanAbsoluteError())
    assert math.isnan(found(2.0, [0.0, 1.0]))
    assert math.isnan(found(2.0, []))


class _Profit(Metric):
    higher_is_better = True

    def update(self, preds: Tensor, target: Tensor) -> None: ...

    def compute(self) -> Tensor:
        return torch.tensor(0.0)


def test_a_gain_without_bound_counts_by_how_far_it_is_above_the_better_constant() -> None:
    found = scoring(Regression(), _Profit())
    assert found(1200.0, [800.0, 1000.0]) == pytest.approx(0.2)
    assert found(-50.0, [-100.0]) == pytest.approx(0.5)


def test_the_user_says_what_counts() -> None:
    of = {"mae": numbers.MeanAbsoluteError(), "r2": numbers.R2Score()}
    by_name = Task("t", head=Regression(), metrics=of, score="r2")
    assert by_name.main_metric() == ("r2", 1)
    own = Task("t", head=Regression(), metrics=of, score=lambda error: 1 - error / 10)
    assert own.main_metric() == ("mae", -1)
    made = own.scoring()
    assert made is not None
    assert not made.needs_baseline
    assert made(4.0, []) == pytest.approx(0.6)


def test_what_cannot_count_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"`score` of task 't' must be the name of one of its metrics or a function .* got 3"
    ):
        refuse_score("t", 3)
    with pytest.raises(ValueError, match=r"`score` of task 't' must be .* one of its metrics, \['.*'\], got 'f1'"):
        Task("t", head=Regression(), score="f1").scoring()
    with pytest.raises(ValueError, match="`score` of task 't' must return a number, got 'high' for 4"):
        scoring(Regression(), numbers.MeanAbsoluteError(), score=lambda error: "high")(4.0, [])


def test_constants_are_those_that_a_plain_baseline_predicts() -> None:
    assert constants_of(Regression(), torch.tensor([1.0, 2.0, 9.0])) == [4.0, 2.0]
    assert constants_of(Regression(2), torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 6.0]])) == [[3.0, 2.0], [3.0, 0.0]]
    assert constants_of(Binary(), torch.tensor([0, 1, 1, 1])) == [0.75]
    assert constants_of(Multiclass(3), torch.tensor([0, 0, 2, 0])) == [[0.75, 0.0, 0.25]]
    assert constants_of(Multilabel(2), torch.tensor([[0, 1], [1, -100]])) == [[0.5, 1.0]]
    assert constants_of(Arcs(4), torch.tensor([0, 1])) == []


def test_a_head_learns_constants_only_where_its_score_needs_them() -> None:
    labels = torch.tensor([1.0, 2.0, 9.0])
    bounded, error = Task("t", head=Regression()), Task("t", head=Regression(), metrics=[numbers.MeanAbsoluteError()])
    for task in (bounded, error):
        task.fit(labels)
    assert bounded.known_head().learned() == {}
    assert error.known_head().learned() == {"constants": [4.0, 2.0]}
    assert not error.lacks_constants
    error.known_head().restore({})  # as a checkpoint of an earlier version has it
    assert not error.lacks_constants


def test_the_metric_of_a_constant_is_that_of_its_prediction_on_each_row() -> None:
    """As an own loop says; for shares of classes too."""

    class Surprise(numbers.MeanAbsoluteError):
        def update(self, preds: Tensor, target: Tensor) -> None:
            self.sum_abs_error += -preds.gather(1, target[:, None]).log().sum()
            self.total += len(target)

    task = Task("t", head=Multiclass(3), metrics={"surprise": Surprise()})
    task.fit(torch.tensor([0, 0, 1, 2]))
    of = TaskMetrics([task])
    of.set_dtype(torch.float64)
    target = torch.tensor([0, 1, 1, 2, 0])
    of.update("validate", 0, torch.full((5, 3), 1 / 3), target)
    _, plain = of.compute("validate", [5.0], torch.device("cpu"))
    assert plain[0] == [pytest.approx(-sum(math.log([0.5, 0.25, 0.25][i]) for i in target.tolist()) / 5)]
