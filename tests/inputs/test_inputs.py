"""Kinds of input columns: by hand, from the training split alone, and what is wrong with a column."""

from __future__ import annotations

import math
import random
from datetime import date
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Pillow
from torch.testing import assert_close

from lightning_mtl import (
    BagOfWords,
    Binary,
    HardSharing,
    MultiTaskDataModule,
    MultiTaskModule,
    Recurrent,
    Source,
    Tabular,
    Task,
    Vocabulary,
)
from lightning_mtl.encoders import HashTokenizer
from lightning_mtl.inputs import Image, Inputs, Plain, Table, Text, Words
from tests.builders import examples
from tests.models import KINDS, learned, quiet, table_rows, text_rows


def made(part: Any, columns: dict[str, list[Any]]) -> Any:
    """Make the tensor of a part's only column."""
    rows = range(len(next(iter(columns.values()))))
    (tensor,) = part.collate(part.prepare(columns, rows)).values()
    return tensor


def fit(dataset: Any, task: str = "y", **source: Any) -> MultiTaskModule:
    """Read data with a text encoder or a table's, up to the first step."""
    encoder = HardSharing(Tabular(4)) if "features" in source else HardSharing(BagOfWords(4, buckets=50))
    module = MultiTaskModule([Task(task)], encoder)
    quiet(max_steps=1).fit(module, MultiTaskDataModule({"s": Source(dataset, **source)}, summary=False))
    return module


# Tables


def test_a_table_is_scaled_and_coded_as_numpy_does() -> None:
    rows = table_rows(50)
    table = Table(["age", "pay", "city"])
    columns = {name: [row[name] for row in rows] for name in table.columns}
    table.fit(columns)
    frame = pd.DataFrame(columns)
    expected = np.stack(
        [
            (frame.age - frame.age.mean()) / frame.age.std(ddof=0),
            ((frame.pay - frame.pay.mean()) / frame.pay.std(ddof=0)).fillna(0),
            frame.pay.isna(),
            frame.city == "Oslo",
            frame.city == "Rome",
        ],
        axis=1,
    )
    assert table.names() == ["age", "pay", "pay missing", "city=Oslo", "city=Rome"]
    assert table.sizes() == {"features": 5}
    assert_close(made(table, columns), torch.tensor(expected.astype(np.float32)))


def test_a_row_is_coded_alike_alone_and_among_others() -> None:
    rows = table_rows(30)
    table = Table(["age", "pay", "city"])
    columns = {name: [row[name] for row in rows] for name in table.columns}
    table.fit(columns)
    alone = [made(table, {name: [value[i]] for name, value in columns.items()}) for i in range(30)]
    assert_close(torch.cat(alone), made(table, columns), rtol=0, atol=0)


def test_a_column_of_one_value_says_nothing_and_does_no_harm() -> None:
    table = Table(["x", "c"])
    table.fit({"x": [3, 3, 3], "c": ["a", "a", None]})
    assert made(table, {"x": [3, 4], "c": ["a", None]}).tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_truths_are_numbers_and_classes_are_categories() -> None:
    features = datasets.Features({"c": datasets.ClassLabel(names=["q", "r"]), "t": datasets.Value("bool")})
    rows = datasets.Dataset.from_list([{"c": 1, "t": True}, {"c": 0, "t": False}], features=features)
    batch = examples(Source(rows, features=["c", "t"]), None, [])[[0, 1]]
    assert batch["features"].tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, -1.0]]


@pytest.mark.parametrize("container", [list, pd.DataFrame, datasets.Dataset.from_list])
def test_the_container_of_the_rows_changes_no_feature(container: Any) -> None:
    rows = table_rows(20)
    source = Source(container(rows), features=["age", "pay", "city"])
    batch = examples(source, None, ["sum"])[[3, 10, 0]]
    expected = examples(Source(rows, features=["age", "pay", "city"]), None, ["sum"])[[3, 10, 0]]
    assert_close(batch["features"], expected["features"])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            [date(2024, 1, 31), date(2024, 2, 1)],
            r"'x' must hold finite numbers, got a date in row 0: .*days since a first",
        ),
        (
            ["2024-01-31", "2024-02-01"],
            r"'x' of `features` must hold numbers or categories, got dates \('2024-01-31'\)",
        ),
        (
            ["1.5", "2", "n/a"],
            r"'x' must hold numbers or categories, got numbers \('1\.5' in row 0\), and 'n/a' in row 2, written as texts\. Give",
        ),
        ([None, math.nan], r"'x' must hold values to learn from, got none\. Leave it out of `features`"),
        ([f"id {i}" for i in range(24)], r"'x' of `features` must hold at most 100 categories, got 24 in 24 rows"),
        ([1.0, math.inf], r"'x' must hold finite numbers, got float in row 1: inf"),
        ([[1.0], [2.0]], r"'x' must hold finite numbers, got list in row 0"),
    ],
)
def test_a_column_that_is_no_feature_is_named(values: list[Any], says: str) -> None:
    rows = [{"x": values[i % len(values)], "y": i % 2} for i in range(24)]
    with pytest.raises(ValueError, match=r"Column " + says):
        fit(rows, features=["x"])


def test_a_gap_that_training_has_not_is_named_with_its_split_and_row() -> None:
    rows = [{"x": float(i), "y": i % 2} for i in range(12)]
    splits = {"train": rows, "validation": [{"x": 0.5, "y": 1}, {"x": None, "y": 0}]}
    with pytest.raises(
        ValueError, match=r"Source 's', split 'validation': Column 'x' .* got none in row 1; the training"
    ):
        fit(splits, features=["x"])


# What is learned comes from the training split


def test_scale_categories_and_words_come_from_training_only() -> None:
    found = []
    for factor, word in [(1, "same"), (50, "other")]:
        other = [{**row, "age": row["age"] * factor + 0.5, "city": word} for row in table_rows(10, seed=4)]
        splits = {"train": table_rows(), "validation": other, "test": other}
        module = fit(splits, "buys", features=["age", "city"])
        texts = {"train": text_rows(), "validation": [{"text": f"{word} words", "mood": "sad"}] * 2}
        vocabulary = Vocabulary(50)
        reader = MultiTaskModule([Task("mood")], HardSharing(BagOfWords(4, tokenizer=vocabulary)))
        quiet(max_steps=1).fit(reader, MultiTaskDataModule({"s": Source(texts, text="text")}, summary=False))
        found.append((learned(module), vocabulary.known))
    assert found[0] == found[1]
    assert found[0][1]
    assert "words" not in found[0][1]


# Images


def test_images_are_scaled_by_channel_as_numpy_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    image = Image(["p"])
    image.fit({"p": list(pixels)})
    expected = (pixels - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2))
    assert_close(made(image, {"p": list(pixels)}), torch.tensor(expected.transpose(0, 3, 1, 2), dtype=torch.float32))


def test_every_form_of_an_image_is_the_same() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = Image(["p"])
    image.fit({"p": [pixels]})
    forms = [Pillow.fromarray(pixels), pixels.tolist(), torch.tensor(pixels), pixels.transpose(2, 0, 1).copy()]
    for form in forms:
        assert_close(made(image, {"p": [form]}), made(image, {"p": [pixels]}))


def test_grey_images_have_one_channel() -> None:
    image = Image(["p"])
    image.fit({"p": [Pillow.new("L", (4, 3), 9)]})
    assert made(image, {"p": [np.zeros((3, 4))]}).shape == (1, 1, 3, 4)
    with pytest.raises(ValueError, match=r"\[height, width\] or \[height, width, channels\], got shape \[2\] in row 0"):
        image.prepare({"p": [[1, 2]]}, [0])


def test_images_of_a_dataset_are_read(tmp_path: Path) -> None:
    paths = []
    for i in range(4):
        Pillow.new("RGB", (4, 3), (i * 60, 10, 20)).save(tmp_path / f"{i}.png")
        paths.append(str(tmp_path / f"{i}.png"))
    rows = datasets.Dataset.from_dict({"p": paths, "y": [0, 1, 0, 1]}).cast_column("p", datasets.Image())
    batch = examples(Source(rows, image="p"), None, ["y"])[[3, 0]]
    assert batch["image"].shape == (2, 3, 3, 4)
    assert batch["image"][:, 0, 0, 0].tolist() == pytest.approx([1.34164, -1.34164], abs=1e-4)
    with pytest.raises(ValueError, match=r"Column 'p' must hold images.* row 0"):
        examples(Source({"train": [{"p": path, "y": 0} for path in paths]}, image="p"), None, ["y"])


# Texts and words


@pytest.mark.parametrize("tokenizer", [HashTokenizer(100, pairs=False), Vocabulary(50).fit(["a small step", "b"])])
def test_texts_are_padded_to_the_longest_of_the_batch(tokenizer: Any) -> None:
    texts = ["a small step", "", "b"]
    batch = made(Text(["t"], tokenizer), {"t": texts})
    numbers = tokenizer(texts)["input_ids"]
    assert batch.tolist() == [numbers[0], [0, 0, 0], [*numbers[2], 0, 0]]


def test_pairs_of_texts_are_read_in_their_order() -> None:
    rows = [{"q": f"is it {word}", "a": f"it is {word}", "same": i % 2} for i, word in enumerate(["red", "blue"] * 6)]
    module = fit(rows, "same", text=["q", "a"])
    turned = [{"q": row["a"], "a": row["q"]} for row in rows[:1]]
    assert module.predict({"a": rows[0]["a"], "q": rows[0]["q"]}) == module.predict(rows[0])
    assert module.predict(turned[0]) != module.predict(rows[0])


def test_words_are_split_and_numbered() -> None:
    tokenizer = Vocabulary(50).fit(["it is fine"])
    words = Words(["w"], tokenizer)
    batch = words.collate(words.prepare({"w": [["it's", "fine"], ["is"]]}, range(2)))
    assert batch["__words__"].tolist() == [[0, -1, -1, 1], [0, -1, -1, -1]]
    assert batch["input_ids"][0].tolist() == [tokenizer.number(of) for of in ("it", "'", "s", "fine")]


@pytest.mark.parametrize("bucket", [True, False])
def test_buckets_change_which_rows_meet_but_none_of_them(bucket: bool) -> None:
    """Every row of an epoch is read once, and is the row that it is alone."""
    rows = [{**row, "id": i} for i, row in enumerate(text_rows(60))]
    random.Random(0).shuffle(rows)
    data = MultiTaskDataModule({"s": Source(rows, text="text")}, bucket=bucket, batch_size=8, summary=False, seed=1)
    data.tokenizer = tokenizer = HashTokenizer(500)
    data.setup("fit")
    seen: dict[int, list[int]] = {}
    for batch in data.train_dataloader():
        for number, ids in zip(batch["s"]["id"].tolist(), batch["s"]["input_ids"].tolist(), strict=True):
            assert number not in seen
            seen[number] = [token for token in ids if token]
    assert sorted(seen) == list(range(60))
    assert all(seen[row["id"]] == tokenizer([row["text"]])["input_ids"][0] for row in rows)


@pytest.mark.parametrize("values", [[1.5, 2.5], [1, 2]])
def test_a_text_column_of_numbers_is_named(values: list[Any]) -> None:
    rows = [{"t": values[i % 2], "y": i % 2} for i in range(8)]
    with pytest.raises(
        ValueError, match=r"Column 't' must hold texts, got .* in row 0\..*categories belong in `features`"
    ):
        fit(rows, text="t")


def test_a_missing_text_is_named_with_its_row() -> None:
    rows = [{"t": None if i == 5 else "fine", "y": i % 2} for i in range(8)]
    with pytest.raises(ValueError, match=r"split 'train': Column 't' must hold texts, got None in row 5\. Fill it"):
        fit(rows, text="t")


def test_a_tokenizer_that_does_not_fit_the_encoder_is_named() -> None:
    module = MultiTaskModule([Task("mood")], HardSharing(Recurrent(4, buckets=20)))
    data = MultiTaskDataModule(
        {"s": Source(text_rows(), text="text")}, tokenizer=HashTokenizer(5000, pairs=False), summary=False
    )
    says = r"The tokenizer must fit the encoder, which knows the tokens 0 to \d+; of source 's', split 'train' it makes token \d+\. Use"
    with pytest.raises(ValueError, match=says):
        quiet().fit(module, data)


def test_a_tokenizer_that_does_not_fit_is_named_for_rows_without_columns() -> None:
    """Rows that are no dataset are tokenized as they are read; still it is found before the first step."""

    class Rows:
        def __len__(self) -> int:
            return 12

        def __getitem__(self, i: int) -> dict[str, Any]:
            return text_rows(12)[i]

    module = MultiTaskModule([Task("mood")], HardSharing(Recurrent(4, buckets=20)))
    data = MultiTaskDataModule(
        {"s": Source(Rows(), text="text")}, tokenizer=HashTokenizer(5000, pairs=False), summary=False
    )
    with pytest.raises(ValueError, match="The tokenizer must fit the encoder"):
        quiet().fit(module, data)


# All inputs of a source


@pytest.mark.parametrize(
    ("source", "close"),
    [
        ({"text": "txt"}, "text"),
        ({"words": "txt"}, "text"),
        ({"features": ["text_"]}, "text"),
        ({"image": "tex"}, "text"),
    ],
)
def test_a_column_that_there_is_not_is_named_with_the_nearest(source: dict[str, Any], close: str) -> None:
    with pytest.raises(
        ValueError, match=rf"Source 's' has no column '.*' in split 'train'; .* Did you mean '{close}'\?"
    ):
        fit(text_rows(), "mood", **source)


def test_a_target_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"has no column 'moods' in split 'train'; .* Did you mean 'mood'\?"):
        fit(text_rows(), "moods", text="text")


def test_a_column_that_another_split_lacks_is_named() -> None:
    rows = text_rows()
    other = [{"mood": row["mood"], "Text": row["text"]} for row in rows]
    with pytest.raises(ValueError, match=r"has no column 'text' in split 'validation'; .* Did you mean 'Text'\?"):
        fit({"train": rows, "validation": other}, "mood", text="text")


def test_broken_rows_of_a_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('text,mood\nfine,happy\n"bad, very",sad\nbad,very,sad\nso-so,sad\n')
    with pytest.raises(
        ValueError, match=r"must hold 2 fields in every line, as in its header, got line 4 \(3 fields\)"
    ):
        Source(path, text="text")
    path.write_text('text,mood\nfine,happy\n"bad,sad\nso-so,sad\n')
    with pytest.raises(ValueError, match=r"rows\.csv"):
        Source(str(path), text="text")


def test_a_file_is_read_and_learned(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame([{"text": row["text"], "mood": row["mood"], "stars": row["stars"]} for row in text_rows()]).to_csv(
        path, index=False
    )
    module = MultiTaskModule([Task("mood"), Task("stars")], KINDS["text"].encoder())
    quiet().fit(module, MultiTaskDataModule({"s": Source(path, text="text")}, summary=False))
    assert set(module.predict("a fine film")) == {"mood", "stars"}


def test_targets_must_not_be_inputs() -> None:
    rows = table_rows()
    with pytest.raises(ValueError, match=r"inputs must not be targets too, got \['age'\]"):
        fit(rows, "age", features=["age", "city"])


def test_an_input_that_is_nan_is_named() -> None:
    rows = [{"x": [1.0, math.nan if i == 5 else 2.0], "y": i % 2} for i in range(8)]
    encoder = HardSharing(torch.nn.Linear(2, 4), 4)
    module = MultiTaskModule([Task("y", head=Binary())], encoder)
    with pytest.raises(ValueError, match=r"source 's', split 'train', row 5, column 'x' is NaN\. Fill it or drop"):
        quiet().fit(module, MultiTaskDataModule({"s": Source(rows)}, summary=False))


def test_kinds_of_inputs_go_together() -> None:
    tokenizer = HashTokenizer(100)
    inputs = Inputs([Text(["t"], tokenizer), Plain(["x"])])
    columns: dict[str, list[Any]] = {"t": ["one", "and two"], "x": [1.0, 2.0], "more": [0, 0]}
    prepared = inputs.prepare(columns, range(2))
    assert set(inputs.collate(prepared)) == {"input_ids", "x"}
    assert inputs.collate(prepared, [1])["x"].tolist() == [2.0]
    assert inputs.columns == ["t", "x"]
    assert inputs.once == inputs.parts[:1]
