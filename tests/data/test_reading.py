"""What is read before training: each row at most once, whole columns at a time, and a sample where rows are slow."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from lightning_mtl import (
    BagOfWords,
    HardSharing,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Source,
    Tabular,
    Task,
    Vocabulary,
)
from lightning_mtl.data import _reading
from lightning_mtl.data._reading import Reading, Wanted
from lightning_mtl.data._row_keys import row_keys
from lightning_mtl.inputs import Inputs, Plain
from tests.conftest import TrainerMaker

Row = dict[str, Any]


def rows(count: int = 40, start: int = 0) -> list[Row]:
    return [
        {
            "x": [float(i), 1.0],
            "age": float(i),
            "city": "ab"[i % 2],
            "text": f"word {i}",
            "mood": "ab"[i % 2],
            "size": i / 7,
        }
        for i in range(start, start + count)
    ]


class Mapped:
    """Counts how often each of its rows is read."""

    def __init__(self, of: list[Row]) -> None:
        self.of = of
        self.reads: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, number: int) -> Row:
        self.reads[number] += 1
        return self.of[number]


KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "columns": ({}, lambda: HardSharing(nn.Linear(2, 8), width=8, inputs=["x"])),
    "table": ({"features": ["age", "city"]}, lambda: HardSharing(Tabular(8))),
    "text": ({"text": "text"}, lambda: HardSharing(BagOfWords(tokenizer=Vocabulary()))),
    "transform": (
        {"transform": lambda columns: {"x": torch.tensor(columns["x"])}},
        lambda: HardSharing(nn.Linear(2, 8), width=8),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_is_read_twice_before_training(kind: str, trainer: TrainerMaker) -> None:
    """Inputs, labels, scales, words, class names and copies of all tasks come from one reading; the test split is left alone."""
    options, encoder = KINDS[kind]
    keep = {"columns": ["x"], "table": ["age", "city"], "text": ["text"], "transform": ["x"]}[kind]
    splits = {"train": rows(), "validation": rows(10, 100), "test": rows(10, 200)}
    parts = {
        split: Mapped([{name: row[name] for name in (*keep, "mood", "size")} for row in of])
        for split, of in splits.items()
    }
    data = MultiTaskDataModule({"s": Source(parts, **options)}, summary=False)
    module = MultiTaskModule([Task("mood"), Task("size"), Task("again", target="mood")], encoder())
    data.trainer = trainer()
    data.trainer.strategy.connect(module)
    data.setup("fit")
    assert parts["train"].reads == Counter(range(40))
    assert parts["validation"].reads == Counter(range(10))
    assert not parts["test"].reads


def test_slow_rows_are_sampled_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trainer: TrainerMaker
) -> None:
    monkeypatch.setattr(_reading, "BUDGET", 0.0)
    mapped = Mapped(rows(2000))
    mapped.of[1003]["mood"] = "c"
    module = MultiTaskModule([Task("mood", head=Multiclass(2, names=["a", "b"]))], KINDS["columns"][1]())
    data = MultiTaskDataModule({"s": mapped}, batch_size=4)
    data.trainer = trainer()
    data.trainer.strategy.connect(module)
    data.setup("fit")
    assert max(mapped.reads.values()) == 1
    assert 200 < len(mapped.reads) <= 300
    assert max(mapped.reads) == 1999
    assert f"{len(mapped.reads)} of 2,000 were read before training" in capsys.readouterr().out


def test_labels_of_a_sample_are_named_by_their_rows(monkeypatch: pytest.MonkeyPatch, trainer: TrainerMaker) -> None:
    monkeypatch.setattr(_reading, "BUDGET", 0.0)
    mapped = Mapped(rows(2000))
    mapped.of[1999]["mood"] = "c"
    module = MultiTaskModule([Task("mood", head=Multiclass(2, names=["a", "b"]))], KINDS["columns"][1]())
    data = MultiTaskDataModule({"s": mapped}, summary=False)
    data.trainer = trainer()
    data.trainer.strategy.connect(module)
    with pytest.raises(ValueError, match=r"have 2 different labels|row 1999 has 'c'"):
        data.setup("fit")


@pytest.mark.parametrize("container", [list, datasets.Dataset.from_list, Mapped])
@pytest.mark.parametrize(
    ("value", "said"),
    [(math.inf, "is inf"), (-math.inf, "is -inf"), (math.nan, "is NaN"), (1e39, "beyond what float32 can hold")],
)
def test_inputs_beyond_the_first_rows_are_looked_at(container: Any, value: float, said: str) -> None:
    given = [{"x": [float(i), 1.0]} for i in range(10_600)]
    given[10_500]["x"] = [1.0, value]
    data = MultiTaskDataModule({"s": container(given)})
    with pytest.raises(ValueError, match=r"source 's', split 'train', row 10500, column 'x'") as error:
        data.setup("fit")
    assert said in str(error.value)


def test_numbers_of_arrow_that_are_missing_or_not_finite() -> None:
    tables: list[tuple[Any, int | None]] = [
        ([1.0, None, 2.0], 1),
        ([1, 2, 3], None),
        ([[[1.0], [2.0]], [[3.0], [math.nan]]], 1),
        ([[0.0, -math.inf], [0.0, 0.0]], None),  # a mask
        (["a", "b"], None),
        ([[], [1.0], [math.inf]], 2),
    ]
    for values, row in tables:
        dataset = datasets.Dataset(pa.table({"x": pa.array(values)}))
        reading = Reading(dataset, Wanted(Inputs([Plain(["x"])])))
        if row is None:
            reading.look()
        else:
            with pytest.raises(ValueError, match=f"row {row}, column 'x'"):
                reading.look()


def test_a_row_that_cannot_be_read_is_named(trainer: TrainerMaker) -> None:
    class Failing(Mapped):
        def __getitem__(self, number: int) -> Row:
            return self.of[number] if number != 7 else dict[str, Row]()["no such file"]

    data = MultiTaskDataModule({"s": Failing(rows())})
    with pytest.raises(ValueError, match="source 's', split 'train', row 7 fails with KeyError: 'no such file'"):
        data.setup("fit")


# Keys of rows


def test_equal_rows_share_a_key_whatever_holds_them() -> None:
    values: list[list[Any]] = [
        [1, 2, 1],
        [0.5, None, 0.5],
        ["a", "é", "a"],
        [[1, 2], [], [1, 2]],
        [[["a"], []], [], [["a"], []]],
    ]
    expected = row_keys(values, 3)
    assert expected[0] == expected[2] != expected[1]
    chunks = [
        pa.chunked_array([pa.array(of[:1], pa.array(of).type), pa.array(of[1:], pa.array(of).type)]) for of in values
    ]
    np.testing.assert_array_equal(row_keys(chunks, 3), expected)
    np.testing.assert_array_equal(row_keys([pa.array([1.0, 2.0, 1.0]), *values[1:]], 3), expected)
    tensors = row_keys([[torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([1.0])]], 3)
    assert tensors[0] == tensors[2] != tensors[1]


def test_other_rows_have_other_keys() -> None:
    columns = [
        [[1, 2], [2, 1], [1], [1, 2, 0], [], [0], [1, 2, None]],
        [0, 1, 2**53 + 1, 2**53 + 2, -(2**53) - 1, 5, 6],
    ]
    for column in columns:
        keys = row_keys([column], 7)
        assert len({*keys.tolist()}) == 7
    a, b = row_keys([["x", "y"], ["y", "x"]], 2)
    assert a != b


# Copies


def held_out(splits: dict[str, dict[str, list[Row]]], targets: Any = "mood") -> list[str]:
    tasks = [Task(f"t{i}", name, target=targets, head=Multiclass(2, names=["a", "b"])) for i, name in enumerate(splits)]
    data = MultiTaskDataModule(
        {name: Source(of, features=["age", "city"]) for name, of in splits.items()}, batch_size=4, summary=False
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data.check_split(MultiTaskModule(tasks, HardSharing(Tabular(4))), "test")
    return [str(warning.message) for warning in told if "same inputs" in str(warning.message)]


def test_rows_of_another_sources_training_split_are_named_with_a_remedy() -> None:
    one = {"train": rows(40), "test": rows(10, 100)}
    (said,) = held_out({"one": one, "two": {"train": rows(40, 200), "test": rows(6, 36)}})
    assert "Source 'two': 4 of 6 rows of split 'test' have the same inputs as rows of 'train' of source 'one'" in said
    assert "split(rows, by=...)" in said
    assert held_out({"one": one, "two": {"train": rows(40, 200), "test": rows(6, 300)}}) == []
    (said,) = held_out({"one": {"train": rows(40), "test": rows(10, 39)}})
    assert "1 of 10 rows of split 'test' have the same inputs as rows of 'train'. Split by content" in said


def test_inputs_that_recur_by_nature_are_no_copies_of_another_source() -> None:
    few = [{**row, "age": float(i % 5)} for i, row in enumerate(rows(40))]
    assert (
        held_out({"one": {"train": few, "test": rows(9, 100)}, "two": {"train": rows(30, 200), "test": few[:4]}}) == []
    )
