"""Heads from columns: what a target says of its task, what is learned from training alone, and what is refused."""

from __future__ import annotations

from datetime import date
from typing import Any

import datasets
import pandas as pd
import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import nn
from torch.utils.data import DataLoader

from lightning_mtl import (
    Binary,
    HardSharing,
    Head,
    Multiclass,
    Multilabel,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Source,
    Tabular,
    Tagging,
    Task,
)
from tests.models import KINDS, close, head, learned, quiet, word_rows

ROWS = 40
CLASS = datasets.ClassLabel(names=["low", "mid", "high"])


def module(*tasks: Task) -> MultiTaskModule:
    torch.manual_seed(0)
    return MultiTaskModule(tasks, HardSharing(Tabular(6)))


def table(count: int = ROWS, seed: int = 0, **columns: list[Any]) -> list[dict[str, Any]]:
    """Rows of two numbers and of other columns, whose values come again and again."""
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)).tolist()
    return [{"a": a, "b": b, **{name: of[i % len(of)] for name, of in columns.items()}} for i, (a, b) in enumerate(x)]


def data(splits: Any, **options: Any) -> MultiTaskDataModule:
    return MultiTaskDataModule({"s": Source(splits, features=["a", "b"])}, summary=False, batch_size=8, **options)


def settled(of: Any, *tasks: Task) -> MultiTaskModule:
    """Fit a step, so that heads are found."""
    made = module(*tasks)
    quiet(max_steps=1).fit(made, data(of))
    return made


@pytest.mark.parametrize(
    ("values", "kind", "names", "label"),
    [
        (["yes", "no"], Binary, ["no", "yes"], "label"),
        ([True, False], Binary, [False, True], "label"),
        ([0, 1], Binary, [0, 1], "label"),
        ([0.0, 1.0], Binary, [0, 1], "label"),
        ([1, 2], Binary, [1, 2], "label"),
        (["a", "c", "b"], Multiclass, ["a", "b", "c"], "label"),
        ([1, 2, 3, 4, 5], Multiclass, [1, 2, 3, 4, 5], "label"),
        ([-1, 0, 1], Multiclass, [-1, 0, 1], "label"),
        (["a", "b", None, ""], Binary, ["a", "b"], "label"),
        ([1, 2, 3, None], Multiclass, [1, 2, 3], "label"),
        ([1.5, 2.5, 3.25], Regression, None, "value"),
        ([0.5, 1.0], Regression, None, "value"),
        ([*range(0, 90, 3)], Regression, None, "value"),
        ([1.5, None, 2.5], Regression, None, "value"),
        ([["x", "y"], ["y"], []], Multilabel, ["x", "y"], "labels"),
        ([["x", "y"], None, ["z"]], Multilabel, ["x", "y", "z"], "labels"),
        ([[0, 1, 1], [1, 0, 0]], Multilabel, None, "labels"),
        ([[0.5, 1.5], [2.5, 0.0]], Regression, None, "values"),
    ],
)
def test_the_head_that_fits(values: list[Any], kind: type[Head], names: Any, label: str) -> None:
    made = settled(table(t=values), Task("t"))
    of = head(made, "t")
    assert type(of) is kind
    assert of.names == names
    answer = made.predict({"a": 0.0, "b": 1.0})["t"]
    assert label in answer
    if label == "label":
        assert list(answer["probabilities"]) == names
        assert answer["label"] in names
        assert type(answer["label"]) is type(names[0])
    if kind is Regression:
        known = torch.tensor([value for value in (values * ROWS)[:ROWS] if value is not None], dtype=torch.float64)
        assert of.scaled
        assert of.learned()["mean"] == pytest.approx(known.reshape(len(known), -1).mean(0).tolist())
        assert of.learned()["scale"] == pytest.approx(known.reshape(len(known), -1).std(0, correction=0).tolist())


def test_names_of_a_dataset_are_kept_in_their_order() -> None:
    features = datasets.Features({"a": datasets.Value("float32"), "b": datasets.Value("float32"), "t": CLASS})
    made = settled(datasets.Dataset.from_list(table(t=[2, 0, 0]), features=features), Task("t"))
    assert type(head(made, "t")) is Multiclass
    assert head(made, "t").names == ["low", "mid", "high"], "one of them is in no row"


def test_tags_of_words() -> None:
    made = MultiTaskModule([Task("tags")], KINDS["words"].encoder())
    quiet(max_steps=1).fit(made, MultiTaskDataModule({"s": Source(word_rows(), words="words")}, summary=False))
    assert type(head(made, "tags")) is Tagging
    assert head(made, "tags").names == ["B-LOC", "O"]


@pytest.mark.parametrize(
    ("columns", "kind"), [({"p": [1.5, 2.0], "q": [3, 9]}, Regression), ({"p": [0, 1], "q": [1, 1, 0]}, Multilabel)]
)
def test_several_targets_of_one_task(columns: Any, kind: type[Head]) -> None:
    made = settled(table(**columns), Task("t", target=["p", "q"]))
    assert type(head(made, "t")) is kind
    assert head(made, "t").names == ["p", "q"]
    answer = made.predict({"a": 0.0, "b": 1.0})["t"]
    assert list(answer["values" if kind is Regression else "probabilities"]) == ["p", "q"]


def test_the_labels_are_what_they_are_called() -> None:
    """A model that learns its training rows by heart says their own labels."""
    rows = table(18, t=["zebra", "ant", "cow"], n=[5, 1, 3], many=[["x"], ["x", "y"], []], v=[1000.0, 4000.0, 2000.5])
    for i, row in enumerate(rows):
        row |= {"a": float(i % 3), "b": float(i % 3 == 1)}
    names = ["t", "n", "many", "v"]
    made = MultiTaskModule(
        [Task(name) for name in names],
        HardSharing(Tabular(32)),
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.03),
    )
    quiet(max_epochs=60).fit(made, data(rows))
    answers = made.predict([{"a": row["a"], "b": row["b"]} for row in rows])
    assert [answer["t"]["label"] for answer in answers] == [row["t"] for row in rows]
    assert [answer["n"]["label"] for answer in answers] == [row["n"] for row in rows]
    assert [answer["many"]["labels"] for answer in answers] == [row["many"] for row in rows]
    assert [answer["v"]["value"] for answer in answers] == pytest.approx([row["v"] for row in rows], rel=0.05)


@pytest.mark.parametrize("container", [list, pd.DataFrame, datasets.Dataset.from_list])
def test_the_container_of_the_rows_changes_nothing(container: Any) -> None:
    rows = table(t=["yes", "no"], n=[1, 2, 3], v=[1.5, None, 2.5])
    tasks = [Task(name) for name in ("t", "n", "v")]
    expected = settled(rows, *tasks).predict(rows)
    assert close(settled(container(rows), *tasks).predict(rows), expected)


# What is learned from labels comes from the training split only


def test_nothing_is_learned_from_other_splits() -> None:
    columns: dict[str, Any] = {"t": ["yes", "no", "no"], "v": [1.5, 9.0, 4.5], "n": [1, 2, 3]}
    tasks = [Task("t", head=Binary(class_weight="balanced")), Task("v"), Task("n")]
    train = table(**columns)
    found = []
    for scale, first in [(1.0, "yes"), (1000.0, "no")]:
        other = [
            {**row, "a": row["a"] * scale + scale, "t": first, "v": row["v"] * scale, "n": 2}
            for row in table(20, seed=1, **columns)
        ]
        made = module(*tasks)
        trainer = quiet(max_steps=1)
        splits = data({"train": train, "validation": other, "test": other})
        trainer.fit(made, splits)
        trainer.test(made, splits, verbose=False)
        heads = [(head(made, task.name).names, head(made, task.name).learned()) for task in tasks]
        found.append((heads, learned(made)))
    assert found[0] == found[1]


def test_balanced_weights_come_through_the_data_module() -> None:
    """n / (classes * n of the class), by hand."""
    rows = table(12, t=["x", "x", "x", "y", "y", "z"], s=[0, 0, 1])
    made = settled(
        rows, Task("t", head=Multiclass(3, class_weight="balanced")), Task("s", head=Binary(pos_weight="balanced"))
    )
    assert head(made, "t").learned()["weights"] == pytest.approx([12 / (3 * 6), 12 / (3 * 4), 12 / (3 * 2)])
    assert head(made, "s").learned()["weights"] == pytest.approx([1.0, 2.0])


def test_a_known_label_in_no_training_row_is_refused() -> None:
    splits = {"train": table(t=["x", "y"]), "validation": table(6, seed=1, t=["x", "y", "z"])}
    with pytest.raises(ValueError, match=r"Task 't'.*split 'validation', row 2.*'z'"):
        quiet().fit(module(Task("t")), data(splits))
    splits = {"train": table(t=[1, 2, 3]), "validation": table(6, seed=1, t=[1, 2, 3, 4])}
    with pytest.raises(ValueError, match=r"Task 't'.*split 'validation', row 3.*4"):
        quiet().fit(module(Task("t")), data(splits))


@pytest.mark.parametrize(("train", "other"), [(["x", "y"], [0, 1]), ([0, 1], ["x", "y"])])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_splits_that_code_labels_otherwise_are_refused(train: list[Any], other: list[Any], split: str) -> None:
    splits = {"train": table(t=train), split: table(6, seed=1, t=other)}
    with pytest.raises(ValueError, match=rf"'t'.*split '{split}'"):
        quiet().fit(module(Task("t")), data(splits))


def test_class_names_in_another_order_are_refused() -> None:
    def made(names: list[str], seed: int) -> datasets.Dataset:
        features = {"a": datasets.Value("float32"), "b": datasets.Value("float32")}
        rows = table(6, seed=seed, t=[0, 1, 2])
        return datasets.Dataset.from_list(
            rows, features=datasets.Features({**features, "t": datasets.ClassLabel(names=names)})
        )

    splits = {"train": made(["low", "mid", "high"], 0), "validation": made(["high", "mid", "low"], 1)}
    with pytest.raises(
        ValueError, match=r"must number its classes in one order everywhere: .*'validation' has \['high'"
    ):
        quiet().fit(module(Task("t")), data(splits))


# What no head fits


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([None], r"must have labels to learn from, got 40 rows without\. Drop the task"),
        (["same"], r"must have at least two different values, got 'same' in all 40 rows\. Name another"),
        ([7], r"must have at least two different values, got 7 in all 40 rows"),
        ([2.5], r"must have at least two different values, got 2.5 in all 40 rows"),
        ([f"id {i}" for i in range(ROWS)], r"must have classes that recur, got 40 different texts in 40 rows"),
        ([*range(ROWS)], r"must have values that can be learned, got consecutive numbers"),
        (["2024-01-31", "2024-02-01"], r"must hold numbers or classes, got dates \('2024-01-31'\)\. Make numbers"),
        ([date(2024, 1, 31), date(2024, 2, 1)], r"must hold numbers or classes, got dates .*days since a first one"),
        ([[0.5], [1.5, 2.5]], r"must hold lists of one length, got lengths 1, 2"),
        ([[]], r"must have labels to learn from, got empty lists only"),
        ([{"x": 1}, {"x": 2}], r"must hold numbers or classes, got dict"),
    ],
)
def test_a_target_that_no_head_fits_is_named(values: list[Any], says: str) -> None:
    with pytest.raises(ValueError, match=r"Column 't' of task 't' " + says):
        quiet().fit(module(Task("t")), data(table(t=values)))


def test_a_target_of_texts_and_numbers_is_named() -> None:
    with pytest.raises(ValueError, match=r"Column 't' must hold texts or numbers, not both; row 5 has 7"):
        data([{**row, "t": 7 if i == 5 else row["t"]} for i, row in enumerate(table(t=["x", "y"]))])


def test_classes_that_only_differ_in_case_are_named() -> None:
    with pytest.warns(
        UserWarning, match=r"Column 't' of task 't' has classes that only differ .*: 'Yes', 'yes'\. Write"
    ):
        settled(table(t=["yes", "no", "Yes"]), Task("t"))


def test_a_head_of_another_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"must have 2 different labels for Binary, got 3 \('x', 'y', 'z'\)\. Change"):
        quiet().fit(module(Task("t", head=Binary())), data(table(t=["x", "y", "z"])))


def test_a_module_without_heads_needs_its_data_first() -> None:
    made = MultiTaskModule([Task("t")], HardSharing(nn.Linear(2, 3), 3))
    says = r"Task 't' needs a `head`"
    with pytest.raises(ValueError, match=says):
        made({"s": {"x": torch.ones(2, 2)}})
    with pytest.raises(ValueError, match=says):
        made.export()
    with pytest.raises(ValueError, match=says):
        quiet().test(made, MultiTaskDataModule({"s": {"test": [{"x": [1.0, 2.0], "t": 1}]}}, summary=False))
    rows: Any = [{"x": torch.ones(2), "t": 1}]
    loader = CombinedLoader({"s": DataLoader(rows)}, "max_size_cycle")
    with pytest.raises(ValueError, match=says):
        quiet().fit(made, loader)


@pytest.mark.parametrize("values", [[["x", "y"], ["y"], []], [[0, 1], [1, 0]], [[0.5, 1.5], [2.5, 0.0]]])
@pytest.mark.parametrize("given", [True, False])
def test_a_batch_without_any_list_of_labels_is_left_out(values: list[Any], given: bool) -> None:
    """Rows one by one: most have no label, and then nothing in the batch says that labels are lists."""
    rows = table(t=values)
    for row in rows[4:]:
        row["t"] = None
    of = head(settled(rows, Task("t")), "t") if given else None
    made = module(Task("t", head=of), Task("u"))
    splits = {"train": [{**row, "u": i % 2} for i, row in enumerate(rows)]}
    trainer = quiet()
    data_of_one = MultiTaskDataModule({"s": Source(splits, features=["a", "b"])}, batch_size=1, summary=False)
    trainer.fit(made, data_of_one)
    assert torch.isfinite(trainer.callback_metrics["train/loss"])
