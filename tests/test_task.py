"""Tasks: names, sources, labels and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.regression import MeanSquaredError

from lightning_mtl import (
    Binary,
    HardSharing,
    Head,
    Multiclass,
    Multilabel,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Task,
)
from lightning_mtl.task import ROWS


def test_a_task_reads_the_one_source_or_that_of_its_name() -> None:
    task = Task("a", head=Binary())
    assert task.resolve(["s"]) == "s"
    assert task.resolve(["s", "a"]) == "a"
    assert Task("a", "s", head=Binary()).resolve(["s", "a"]) == "s"


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(ValueError, match=r"Task 'ner' reads source 'ner'; sources are \['pos', 'chunk'\]"):
        Task("ner", head=Binary()).resolve(["pos", "chunk"])
    with pytest.raises(ValueError, match="reads source 'x'"):
        Task("ner", "x", head=Binary()).resolve(["pos"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Task("a.b", head=Binary()), "`name` of a task must be a word"),
        (lambda: Task("", head=Binary()), "`name` of a task must be a word"),
        (lambda: Task("items", head=Binary()), "torch.nn.ModuleDict does not use"),
        (lambda: Task("a").known_head(), "Task 'a' needs a `head`, which only `MultiTaskDataModule` finds out"),
        (lambda: Task("a", target=[]), "`target` of task 'a' must name at least one column"),
        (lambda: Task("a", head=Binary(), weight=0.0), "`weight` of task 'a' must be a positive number, got 0.0"),
        (lambda: Task("a", head=Binary(), weight=math.nan), "must be a positive number, got nan"),
        (
            lambda: Task("a", head=Binary(), metrics=[_NoDirection(2)]).main_metric(),
            "must say whether higher is better",
        ),
    ],
)
def test_bad_arguments_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


class _NoDirection(MulticlassAccuracy):
    higher_is_better = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("head", "given", "becomes", "rows"),
    [
        (Multiclass(3), torch.tensor([0, 2, 1]), torch.tensor([0, 2, 1]), None),
        (Multiclass(3), torch.tensor([0, -100, 1]), torch.tensor([0, -100, 1]), [0, 2]),
        (Multiclass(3), torch.tensor([0.0, math.nan, 1.0]), torch.tensor([0, -100, 1]), [0, 2]),
        (Multiclass(3), torch.tensor([[0], [2]]), torch.tensor([0, 2]), None),
        (Binary(), torch.tensor([True, False]), torch.tensor([1, 0]), None),
        (Binary(), torch.tensor([-100, -100]), torch.tensor([-100, -100]), []),
        (Regression(), torch.tensor([1, -100]), torch.tensor([1.0, -100.0]), None),
        (Regression(), torch.tensor([math.nan, 2.0]), torch.tensor([math.nan, 2.0]), [1]),
        (Multilabel(2), torch.tensor([[1, 0], [-100, 1], [-100, -100]]), None, [0, 1]),
    ],
)
def test_labels_take_the_form_of_the_head(
    head: Any, given: torch.Tensor, becomes: torch.Tensor | None, rows: Any
) -> None:
    columns: dict[str, Any] = {"a": given}
    Task("a", head=head).label(columns)
    assert_close(columns["a"], given if becomes is None else becomes, equal_nan=True)
    found = columns.get(ROWS, {}).get("a")
    assert (None if found is None else found.tolist()) == rows


@pytest.mark.parametrize(
    ("head", "given", "says"),
    [
        (Multiclass(3), torch.tensor([0, 1, 3]), "must be a whole number from 0 to 2, or -100 for none; row 2 has 3"),
        (Multiclass(3), torch.tensor([0, -1]), "row 1 has -1"),
        (Multiclass(3), torch.tensor([0.5, 1.0]), "row 0 has 0.5"),
        (Regression(), torch.tensor([1.0, math.inf]), "must be a finite number, or NaN for none; row 1 has inf"),
        (Regression(2), torch.tensor([[1.0, math.nan]]), "in all outputs of a row or in none"),
        (Multiclass(3), torch.tensor([[0, 1]]), r"must have shape \[batch\] for Multiclass, got \[batch, 2\]"),
        (Multilabel(3), torch.tensor([[0, 1]]), r"must have shape \[batch, 3\] for Multilabel, got \[batch, 2\]"),
        (Multiclass(3), ["cat", "dog"], "must hold numbers, got str"),
    ],
)
def test_bad_labels_are_named(head: Any, given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Task("a", head=head).label({"a": given})


def test_metrics_can_be_given_in_any_form() -> None:
    accuracy, f1 = MulticlassAccuracy(3), MulticlassF1Score(3)
    forms: list[tuple[Any, str]] = [
        (accuracy, "MulticlassAccuracy"),
        ([f1, accuracy], "MulticlassF1Score"),
        ({"f": f1, "a": accuracy}, "f"),
        (MetricCollection({"a": accuracy}), "a"),
    ]
    for given, main in forms:
        task = Task("t", head=Multiclass(3), metrics=given)
        assert task.main_metric() == (main, 1)
        assert main in task.metric_collection()
    assert Task("t", head=Regression(), metrics=MeanSquaredError()).main_metric() == ("MeanSquaredError", -1)
    assert Task("t", head=Regression(), metrics=[]).main_metric() is None
    with pytest.raises(ValueError, match="must be of different classes where they have no names"):
        Task("t", head=Multiclass(3), metrics=[accuracy, MulticlassAccuracy(3, average="micro")]).main_metric()


@pytest.mark.parametrize("head", [Binary(), Multiclass(3), Multilabel(3), Regression(), Regression(2)])
def test_default_metrics_fit_the_head(head: Any) -> None:
    task = Task("t", head=head)
    head.build(4)
    prediction = head.predict(head(torch.randn(6, 4)))
    target = torch.randn(prediction.shape) if head.kind == "regression" else torch.ones(6, *head.label_shape).long()
    metrics = task.metric_collection()
    metrics.update(prediction, target)
    assert all(value.isfinite() for value in metrics.compute().values())


def test_a_dropout_is_for_a_head_that_is_found_and_moves_into_it(trainer: Callable[..., L.Trainer]) -> None:
    rows = [{"x": [float(i)], "label": "ab"[i % 2]} for i in range(8)]
    module = MultiTaskModule([Task("label", dropout=0.25)], HardSharing(nn.Linear(1, 4), width=4))
    trainer(max_steps=1).fit(module, MultiTaskDataModule({"rows": {"train": rows}}, summary=False))
    head = module.heads["label"]
    assert isinstance(head, Head)
    assert isinstance(head.drop, nn.Dropout)
    assert head.dropout == head.drop.p == 0.25
    for wrong in ({"dropout": 1.0}, {"dropout": 0.1, "head": Binary()}):
        with pytest.raises(ValueError, match="`dropout` of task 'label' must lie in"):
            Task("label", **wrong)
