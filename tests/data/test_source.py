"""Sources: columns to tensors, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset

from lightning_mtl import Source
from lightning_mtl.encoders import HashTokenizer
from lightning_mtl.inputs import stacked
from tests.builders import examples

TEXTS = ["a small step", "", "one giant leap for all of us"]


class Plain(Dataset[dict[str, Any]]):
    """A map-style dataset of the user's own, without columns."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"x": np.full(2, i, dtype=np.float64), "text": TEXTS[i], "y": i}


@pytest.mark.parametrize(
    "dataset", [[{"t": t, "y": 1} for t in TEXTS], datasets.Dataset.from_dict({"t": TEXTS, "y": [1] * 3})]
)
def test_texts_are_tokenized_and_padded(dataset: Any) -> None:
    tokenizer = HashTokenizer(100, pairs=False)
    batch = examples(Source(dataset, text="t"), tokenizer, ["y"])[[2, 0, 1]]
    assert set(batch) == {"input_ids", "y"}
    lengths = [(row != 0).sum().item() for row in batch["input_ids"]]
    assert lengths == [7, 3, 0]
    assert batch["input_ids"][1, :3].tolist() == tokenizer([TEXTS[0]])["input_ids"][0]


def test_texts_without_columns_are_tokenized_alike() -> None:
    tokenizer = HashTokenizer(100)
    plain = examples(Source(Plain(), text="text"), tokenizer, ["y"])[[0, 2]]
    columns = examples(Source([Plain()[i] | {"x": 0.0} for i in range(3)], text="text"), tokenizer, ["y"])[[0, 2]]
    assert_close(plain, columns)


def test_pairs_of_texts_are_read_together() -> None:
    tokenizer = HashTokenizer(100, pairs=False)
    rows = [{"a": "one two", "b": "three", "y": 0}]
    ids = examples(Source(rows, text=("a", "b")), tokenizer, ["y"])[[0]]["input_ids"]
    assert ids.shape == (1, 4)  # a mark between them


def test_features_are_one_matrix() -> None:
    rows = [{"u": 1, "v": 0.5, "y": 0}, {"u": 2, "v": 1.5, "y": 1}, {"u": 3, "v": None, "y": 1}]
    batch = examples(Source(rows, features=["v", "u"]), targets=["y"])[[0, 2]]
    assert_close(batch["features"], torch.tensor([[-1.0, 0.0, -math.sqrt(1.5)], [0.0, 1.0, math.sqrt(1.5)]]))
    assert batch["y"].tolist() == [0, 1]


def test_unnamed_columns_pass_as_they_are() -> None:
    batch = examples(Source(Plain()), targets=["y"])[[1, 2]]
    assert_close(batch["x"], torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    assert batch["text"] == TEXTS[1:]
    hidden = examples(Source(Plain()), targets=["y"], not_inputs=["x", "y"])[[1, 2]]
    assert set(hidden) == {"text", "y"}


def test_the_users_own_functions() -> None:
    def transform(columns: dict[str, list[Any]]) -> dict[str, Tensor]:
        return {"length": torch.tensor([len(text) for text in columns["text"]])}

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {"twice": torch.tensor([2 * row["y"] for row in rows]), "y": torch.tensor([row["y"] for row in rows])}

    assert set(examples(Source(Plain(), transform=transform), targets=["y"])[[0]]) == {"length", "y"}
    assert examples(Source(Plain(), collate=collate), targets=["y"])[[2]]["twice"].tolist() == [4]
    ready = Source({"train": DataLoader(Plain(), 2, collate_fn=collate)})
    assert examples(ready, targets=["y"])[[2]]["twice"].tolist() == [4]
    assert ready.rows_per_step("train", 32) == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], torch.tensor([1, 2])),
        ([True, False], torch.tensor([True, False])),
        ([1, None], torch.tensor([1.0, math.nan], dtype=torch.float64)),
        ([0.5, None], torch.tensor([0.5, math.nan])),
        ([None, None], torch.tensor([math.nan] * 2, dtype=torch.float64)),
        ([0.5, 1.0], torch.tensor([0.5, 1.0])),
        ([[1, 2], [3, 4]], torch.tensor([[1, 2], [3, 4]])),
        ([[1, 2], [3]], torch.tensor([[1, 2], [3, 0]])),
        ([np.float64(0.5)], torch.tensor([0.5])),
        ([torch.ones(2), torch.zeros(2)], torch.tensor([[1.0, 1.0], [0.0, 0.0]])),
    ],
    ids=str,
)
def test_values_become_tensors(values: list[Any], expected: Tensor) -> None:
    assert_close(stacked(values), expected, equal_nan=True)


def test_formatted_datasets_and_uneven_rows_are_read_alike() -> None:
    table = datasets.Dataset.from_dict({"x": [[1.0], [2.0]], "y": [0, 1]})
    for dataset in (table, table.with_format("torch")):
        assert examples(Source(dataset), targets=["y"])[[1]]["x"].tolist() == [[2.0]]
    batch = examples(Source([{"x": 1.0}, {"x": 2.0, "y": 1}]), targets=["y"])[[0, 1]]
    assert batch["y"].isnan().tolist() == [True, False]


def test_data_frames_are_datasets() -> None:
    frame = pd.DataFrame({"u": [1.0, 2.0], "y": [0, 1]})
    assert examples(Source(frame, features=["u"]), targets=["y"])[[1]]["features"].tolist() == [[1.0]]


def test_large_class_numbers_survive_a_missing_one() -> None:
    assert stacked([16_777_217, None])[0] == 16_777_217


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Source({"dev": []}), ValueError, r"must have splits out of .*'validation'.*, got \['dev'\]"),
        (lambda: Source([], batch_size=0), ValueError, "`batch_size` must be a whole number of at least 1, got 0"),
        (lambda: Source(Plain(), text=("a", "b", "c")), ValueError, "`text` must name one column, or two"),
        (lambda: Source(7), TypeError, "must have a length and return rows by number, or be an iterable, got int"),
        (lambda: examples(Source([]), name="s"), ValueError, "Split 'train' of source 's' must have rows"),
        (
            lambda: examples(Source(Plain(), text="txt"), HashTokenizer(), name="s"),
            ValueError,
            r"Source 's' has no column 'txt' in split 'train'; columns are .*Did you mean 'text'\?",
        ),
        (
            lambda: examples(Source([{"t": "a"}, {"t": None}], text="t"), HashTokenizer(), []),
            ValueError,
            "Column 't' must hold texts, got None in row 1",
        ),
        (lambda: Source([{"u": 1.0}, {"u": 2}, {"u": "x"}]), ValueError, "texts or numbers, not both; row 2 has 'x'"),
        (lambda: Source(Plain(), text="text", transform=dict), ValueError, "`transform` makes all input columns"),
        (
            lambda: examples(Source([{"u": 1.0}], features=["u"]), targets=["u"], name="s"),
            ValueError,
            r"Source 's': inputs must not be targets too, got \['u'\]",
        ),
        (lambda: examples(Source(Plain()), targets=["z"], name="s"), ValueError, "has no column 'z'"),
        (lambda: examples(Source(Plain(), text="text"), name="s"), ValueError, "has `text`, but no tokenizer"),
        (
            lambda: examples(Source([1, 2, 3])),
            ValueError,
            "Rows of a source must be mappings of columns, got int",
        ),
    ],
)
def test_bad_sources_are_refused(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize(("count", "shown"), [(20, False), (10_000, True)])
def test_only_many_rows_are_worth_a_progress_bar(count: int, shown: bool, capfd: pytest.CaptureFixture[str]) -> None:
    datasets.enable_progress_bars()
    try:
        examples(Source([{"size": float(i)} for i in range(count)], features=["size"]), targets=[])
        assert not datasets.are_progress_bars_disabled()
    finally:
        datasets.disable_progress_bars()
    assert ("Prepare" in capfd.readouterr().err) is shown
