"""Own data in, predictions out: what must not go wrong without a word."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_mtl import (
    BagOfWords,
    Binary,
    HardSharing,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Source,
    Tabular,
    Tagging,
    Task,
)
from lightning_mtl.data._head_inference import head_for
from lightning_mtl.files import read_rows
from lightning_mtl.inputs import Table, label_values
from tests.conftest import TrainerMaker

MOODS = [{"t": text, "mood": mood} for text, mood in [("good", "a"), ("bad", "b"), ("so so", "c")] * 8]


def test_a_constant_column_has_no_scale_of_rounding() -> None:
    table = Table(["a"])
    table.fit({"a": [0.1] * 100})
    assert table.prepare({"a": [0.2]}, [0])["features"] == [[pytest.approx(0.1)]]


def test_words_for_nothing_are_labels_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pain.csv"
    path.write_text("pain,age\nNone,1\nnull,NA\n,3\nsome,\n")
    assert read_rows(path)[:] == {"pain": ["None", "null", None, "some"], "age": [1, None, 3, None]}


def test_a_row_without_numbers_has_no_label() -> None:
    columns: dict[str, Any] = {"y": label_values([[1.0, 2.0], None, [3.0, 4.0]])}
    Task("y", head=Regression(2)).label(columns)
    assert columns["__rows__"]["y"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("values", "words", "kind", "outputs"),
    [
        ([0, 1, -100] * 20, False, "Binary", 1),
        ([[0, 1], [1, -100], [-100, -100]], False, "Multilabel", 2),
        ([[0, 2], [1, -100, 0]], True, "Tagging", 3),
        ([-100.0, 0.5, 3.0] * 20, False, "Regression", 1),
    ],
)
def test_minus_one_hundred_is_no_class(values: list[Any], words: bool, kind: str, outputs: int) -> None:
    head = head_for(Task("y"), {"y": values}, {}, words=words)
    assert (type(head).__name__, head.outputs) == (kind, outputs)


def fitted(trainer: TrainerMaker, which: list[Task], rows: list[dict[str, Any]], path: Path) -> MultiTaskModule:
    made = MultiTaskModule(which, HardSharing(BagOfWords(8, buckets=100)))
    run = trainer()
    run.fit(made, MultiTaskDataModule({"s": Source(rows, text="t")}, summary=False))
    run.save_checkpoint(path)
    return made


def test_a_warm_start_takes_no_head_with_labels_named_otherwise(trainer: TrainerMaker, tmp_path: Path) -> None:
    old = fitted(trainer, [Task("mood")], MOODS, tmp_path / "a.ckpt")
    for head in (Multiclass(3, names=["c", "b", "a"]), Binary(), Multiclass(3, class_weight="balanced")):
        made = MultiTaskModule([Task("mood", head=head)], HardSharing(BagOfWords(8, buckets=100)))
        assert "heads.mood" in made.warm_start(tmp_path / "a.ckpt")["new"]
    alike = MultiTaskModule([Task("mood", head=Multiclass(3))], HardSharing(BagOfWords(8, buckets=100)))
    assert "heads.mood" in alike.warm_start(tmp_path / "a.ckpt")["taken"]
    assert alike.predict("bad")["mood"]["label"] == old.predict("bad")["mood"]["label"]


def test_a_task_given_to_a_checkpoint_keeps_what_it_does_not_say(trainer: TrainerMaker, tmp_path: Path) -> None:
    old = fitted(trainer, [Task("feeling", target="mood")], MOODS, tmp_path / "a.ckpt")
    made = MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt", tasks=[Task("feeling", weight=2.0, dropout=0.5)])
    assert (made.tasks[0].target, made.tasks[0].weight, made.tasks[0].known_head().dropout) == ("mood", 2.0, 0.5)
    assert made.eval().predict("bad")["feeling"]["label"] == old.predict("bad")["feeling"]["label"]


def table_rows(scale: float, count: int = 24) -> list[dict[str, Any]]:
    return [{"x": scale * i, "z": i % 3, "y": float(i % 5)} for i in range(count)]


def tabular() -> MultiTaskModule:
    return MultiTaskModule([Task("y", head=Regression())], HardSharing(Tabular(8)))


def test_a_checkpoint_is_not_read_with_data_of_another_scale(trainer: TrainerMaker, tmp_path: Path) -> None:
    def data(scale: float) -> MultiTaskDataModule:
        splits = {"train": table_rows(scale), "test": table_rows(1.5, 6)[1::2]}
        return MultiTaskDataModule({"s": Source(splits, features=["x", "z"])}, summary=False)

    run = trainer()
    run.fit(tabular(), data(1.0))
    run.save_checkpoint(tmp_path / "a.ckpt")
    first = trainer().test(tabular(), data(1.0), ckpt_path=tmp_path / "a.ckpt", verbose=False)
    assert math.isfinite(first[0]["test/loss"])
    with pytest.raises(ValueError, match="Source 's' must scale and code its columns as in the checkpoint"):
        trainer().test(tabular(), data(50.0), ckpt_path=tmp_path / "a.ckpt", verbose=False)


def test_two_tables_in_one_trunk_are_refused(trainer: TrainerMaker) -> None:
    made = MultiTaskModule([Task("y", "a"), Task("z", "b", head=Multiclass(3))], HardSharing(Tabular(8)))
    sources = {"a": Source(table_rows(1.0), features=["x", "z"]), "b": Source(table_rows(1.0), features=["x"])}
    with pytest.raises(ValueError, match="Sources of one `Tabular` must have the same columns, got 2 features"):
        trainer().fit(made, MultiTaskDataModule(sources, summary=False))


def test_targets_of_other_tasks_are_no_inputs_anywhere(trainer: TrainerMaker) -> None:
    rows = [{"x": float(i), "p": float(i % 2), "q": float(i % 3)} for i in range(12)]
    made = MultiTaskModule(
        [Task("p", "a", head=Regression()), Task("q", "b", head=Regression())],
        HardSharing(nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Linear(1, 4)), width=4),
    )
    data = MultiTaskDataModule({"a": rows, "b": rows}, batch_size=4, summary=False)
    trainer().fit(made, data)
    assert [inputs.columns for inputs in made.inputs.values()] == [["x"], ["x"]]
    assert set(made.predict({"x": 1.0})) == {"p", "q"}


def test_rows_of_one_source_say_which_tasks_they_are_for(trainer: TrainerMaker) -> None:
    other = [{"note": row["t"], "kind": row["mood"]} for row in MOODS]
    made = MultiTaskModule([Task("mood", "s"), Task("kind", "o")], HardSharing(BagOfWords(8, buckets=100)))
    sources = {"s": Source(MOODS, text="t"), "o": Source(other, text="note")}
    trainer().fit(made, MultiTaskDataModule(sources, summary=False))
    with pytest.raises(ValueError, match=r"Predict them alone: predict\(rows, \['kind'\]\)"):
        made.predict({"note": "good"})
    assert set(made.predict({"note": "good"}, ["kind"])) == {"kind"}


def test_a_tagger_learns_from_tags_without_words_for_them() -> None:
    head = Tagging(3)
    head.build(4)
    assert head(torch.ones(2, 5, 4)).shape == (2, 5, 3)


def test_frozen_averages_do_not_move(trainer: TrainerMaker) -> None:
    rows = [{"x": [float(i), 1.0], "old": i % 2, "new": i % 3} for i in range(24)]
    trunk = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    made = MultiTaskModule([Task("old", head=Multiclass(2))], HardSharing(trunk, width=4, inputs=["x"]))
    trainer().fit(made, MultiTaskDataModule({"s": rows}, batch_size=8, summary=False))
    before = made.predict(rows[:3], ["old"])
    made.add_task(Task("new", head=Multiclass(3)), freeze=True)
    trainer(max_epochs=2).fit(made, MultiTaskDataModule({"s": rows}, batch_size=8, summary=False))
    assert made.predict(rows[:3], ["old"]) == before


def test_classes_that_were_rounded_are_refused() -> None:
    values = [float(2**60), float(2**61), None] * 10
    with pytest.raises(
        ValueError,
        match=r"Column 'y' of task 'y' must have class numbers below 2\*\*53 where they come as real numbers",
    ):
        head_for(Task("y"), {"y": values}, {}, words=False)
    exact = head_for(Task("y"), {"y": [2**60, 2**60 + 1, None] * 10}, {}, words=False)
    assert exact.names == [2**60, 2**60 + 1]
