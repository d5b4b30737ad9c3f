"""Tasks: names, sources, labels and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
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
from tests.builders import encoder, splits


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
        (lambda: Task("", head=Binary()), "`name` of a task must not be empty"),
        (lambda: Task("a").known_head(), "Task 'a' needs a `head`, which only `MultiTaskDataModule` can infer"),
        (lambda: Task("a", target=[]), "`target` of task 'a' must name at least one column"),
        (lambda: Task("a", head=Binary(), weight=0.0), "`weight` of task 'a' must be finite and above 0, got 0.0"),
        (lambda: Task("a", head=Binary(), weight=math.nan), "must be finite and above 0, got nan"),
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
        with pytest.raises(ValueError, match="`dropout` of task 'label' must be "):
            Task("label", **wrong)


def test_label_smoothing_is_for_a_head_of_classes_that_is_found(trainer: Callable[..., L.Trainer]) -> None:
    rows = [{"x": [float(i)], "label": "ab"[i % 2], "some": [i % 2, i % 3 % 2], "size": i / 7} for i in range(8)]
    which = [Task("label", label_smoothing=0.25), Task("some", label_smoothing=0.1, dropout=0.5), Task("size")]
    module = MultiTaskModule(which, HardSharing(nn.Linear(1, 4), width=4, inputs=["x"]))
    trainer(max_steps=1).fit(module, MultiTaskDataModule({"rows": {"train": rows}}, summary=False))
    one, several = module.heads["label"], module.heads["some"]
    assert isinstance(one, Binary)
    assert isinstance(several, Multilabel)
    assert (one.label_smoothing, several.label_smoothing, several.dropout) == (0.25, 0.1, 0.5)
    wrong: list[dict[str, Any]] = [
        {"label_smoothing": 1.0},
        {"label_smoothing": 0.1, "head": Binary()},
        {"label_smoothing": 0.1, "loss": nn.CrossEntropyLoss()},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match="`label_smoothing` of task 'label' must be "):
            Task("label", **options)
    numbers = MultiTaskModule([Task("size", label_smoothing=0.1)], HardSharing(nn.Linear(1, 4), width=4, inputs=["x"]))
    with pytest.raises(ValueError, match="`label_smoothing` of task 'size' must be left out for Regression"):
        trainer(max_steps=1).fit(numbers, MultiTaskDataModule({"rows": {"train": rows}}, summary=False))


def test_the_loss_of_an_evaluation_is_that_of_the_labels_as_they_are(trainer: Callable[..., L.Trainer]) -> None:
    shown = []
    for smoothing in (0.0, 0.4):
        torch.manual_seed(0)
        task = Task("sign", head=Multiclass(2, label_smoothing=smoothing))
        module, run = MultiTaskModule([task], encoder()), trainer(max_steps=1, log_every_n_steps=1)
        data = MultiTaskDataModule({"s": splits()}, batch_size=60, seed=0, summary=False)
        module.lr = 1e-9
        run.fit(module, data)
        shown.append({name: float(run.callback_metrics[f"{name}/sign/loss"]) for name in ("train", "validate")})
    plain, smooth = shown
    assert smooth["validate"] == pytest.approx(plain["validate"], abs=1e-5)
    assert abs(smooth["train"] - plain["train"]) > 1e-3


# Weight decay


def test_weight_decay_moves_the_head_of_its_task_alone(trainer: Callable[..., L.Trainer]) -> None:
    """One step of AdamW takes lr * decay off each weight, beside what the gradient does."""
    ended = []
    for decay in (None, 0.7):
        which = [Task("sign", head=Multiclass(2), weight_decay=decay), Task("size", head=Regression())]
        torch.manual_seed(0)
        module = MultiTaskModule(which, encoder())
        start = {name: value.clone() for name, value in module.state_dict().items()}
        trainer(max_steps=1).fit(module, MultiTaskDataModule({"s": splits()}, batch_size=8, seed=0, summary=False))
        ended.append(module.state_dict())
    plain, own = ended
    for name, value in plain.items():
        taken = 1e-3 * (0.7 - 0.01) * start[name] if name.startswith("heads.sign") else torch.zeros(())
        assert_close(value - own[name], taken.expand_as(value), atol=1e-7, rtol=1e-4)


def test_a_weight_decay_is_a_group_of_its_own() -> None:
    which = [Task("trunk", head=Binary(), weight_decay=0.0), Task("size", head=Regression())]
    made = MultiTaskModule(which, encoder()).configure_optimizers()
    found = {group["name"]: (group["weight_decay"], len(group["params"])) for group in made.param_groups}
    assert found == {"trunk": (0.01, 2), "heads": (0.01, 2), "heads/trunk": (0.0, 2)}
    other = MultiTaskModule(which, encoder(), optimizer=lambda groups: torch.optim.Rprop(groups, lr=0.1))
    with pytest.raises(
        ValueError, match=r"`weight_decay` of a task must be left out with Rprop.*\{'heads/trunk': 0.0\}"
    ):
        other.configure_optimizers()
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`weight_decay` of task 't' must be finite and at least 0"):
            Task("t", weight_decay=wrong)


def test_decay_and_smoothing_are_kept_in_checkpoints(trainer: Callable[..., L.Trainer], tmp_path: Path) -> None:
    rows = [{"x": [float(i)], "label": "ab"[i % 2], "size": i / 7} for i in range(8)]
    which = [Task("label", label_smoothing=0.25, weight_decay=0.5), Task("size")]
    module, run = MultiTaskModule(which, HardSharing(nn.Linear(1, 4), width=4, inputs=["x"])), trainer(max_steps=1)
    run.fit(module, MultiTaskDataModule({"rows": {"train": rows}}, summary=False))
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt")
    assert [task.weight_decay for task in loaded.tasks] == [0.5, None]
    assert loaded.heads["label"].label_smoothing == 0.25
    given = Task("label", label_smoothing=0.5, weight_decay=0.1)
    other = MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt", tasks=[given])
    assert other.heads["label"].label_smoothing == 0.5
    assert [task.weight_decay for task in other.tasks] == [0.1, None]
    other.add_task(Task("late", head=Binary(), weight_decay=0.2))
    assert [group["name"] for group in other.configure_optimizers().param_groups] == [
        "trunk",
        "heads",
        "heads/label",
        "heads/late",
    ]
    with pytest.raises(ValueError, match="`label_smoothing` of task 'size' must be left out for Regression"):
        MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt", tasks=[Task("size", label_smoothing=0.5)])
