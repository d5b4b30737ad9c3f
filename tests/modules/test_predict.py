"""Predictions for rows of a user's: they depend on the row alone, and say what is wrong with it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import datasets
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from lightning_mtl import HardSharing, MultiTaskDataModule, MultiTaskModule, Regression, Source, Tabular, Task
from tests.models import KINDS, Row, close, image_rows, inputs, quiet, table_rows, text_rows, trained

Trained = Callable[[str], tuple[MultiTaskModule, Any, list[Row]]]


@pytest.fixture(scope="module")
def model() -> Trained:
    """Train a model of a kind, once for all tests here."""
    made: dict[str, tuple[MultiTaskModule, Any, list[Row]]] = {}

    def of(kind: str) -> tuple[MultiTaskModule, Any, list[Row]]:
        if kind not in made:
            made[kind] = trained(kind)
        return made[kind]

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_answered_alike_alone_and_among_others(kind: str, model: Trained) -> None:
    module, _, rows = model(kind)
    alone = [module.predict(row) for row in rows]
    assert len({str(answer) for answer in alone}) > 1, "rows must differ for this to say anything"
    for size in (1, 4, 64):
        assert close(module.predict(rows, batch_size=size), alone)
    shuffled = random.Random(0).sample(range(len(rows)), len(rows))
    assert close(module.predict([rows[i] for i in shuffled]), [alone[i] for i in shuffled])


@pytest.mark.parametrize("kind", ["text", "words", "table"])
def test_rows_may_come_in_any_container(kind: str, model: Trained) -> None:
    module, _, rows = model(kind)
    expected = module.predict(rows)
    assert close(module.predict(tuple(rows)), expected)
    assert close(module.predict(datasets.Dataset.from_list(rows)), expected)
    assert close(module.predict(pd.DataFrame(rows)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_may_come_in_any_order_and_others_beside_them(kind: str, model: Trained) -> None:
    module, _, rows = model(kind)
    mixed = [{"more": object(), **dict(reversed(row.items()))} for row in rows]
    assert close(module.predict(mixed), module.predict(rows))


@pytest.mark.parametrize("kind", ["text", "words", "table", "image", "bert words"])
def test_the_trainer_predicts_the_same(kind: str, model: Trained) -> None:
    module, _, rows = model(kind)
    data = MultiTaskDataModule({"s": Source({"predict": rows}, **KINDS[kind].inputs)}, batch_size=4, summary=False)
    batches: Any = quiet().predict(module, data)
    for task in KINDS[kind].targets:
        answers = [answer for batch in batches for answer in batch[task]]
        assert close(answers, [answer[task] for answer in module.predict(rows)])


@pytest.mark.parametrize("kind", KINDS)
def test_all_tasks_take_one_pass_of_the_trunk(kind: str, model: Trained) -> None:
    module, _, rows = model(kind)
    calls = []
    hook = module.encoder.register_forward_hook(lambda *_: calls.append(1))
    module.predict(rows, batch_size=len(rows))
    hook.remove()
    assert len(calls) == 1


def test_some_tasks_are_predicted_alone(model: Trained) -> None:
    module, _, rows = model("text")
    assert set(module.predict(rows[0], ["stars"])) == {"stars"}
    assert close(module.predict(rows, ["stars"]), [{"stars": of["stars"]} for of in module.predict(rows)])
    with pytest.raises(ValueError, match=r"`tasks` must be a list of names out of .*'mood'.*, got \['mod'\]"):
        module.predict(rows, ["mod"])


def test_nothing_of_the_model_is_changed(model: Trained) -> None:
    module, _, rows = model("text")
    module.train()
    module.encoder.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.predict(rows)
    assert module.training
    assert not module.encoder.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    module.eval()


def test_no_rows_give_no_answers(model: Trained) -> None:
    assert model("text")[0].predict([]) == []
    assert model("table")[0].predict(pd.DataFrame({"age": [], "pay": [], "city": []})) == []


# Texts


@pytest.mark.parametrize("kind", ["text", "recurrent", "minilm"])
def test_texts_that_are_odd_are_answered(kind: str, model: Trained) -> None:
    module, _, _ = model(kind)
    odd = ["", " \n\t", "🙂 Ωmega", "film " * 5000, "\x00"]
    answers = module.predict(odd)
    assert close(answers, [module.predict({"text": text}) for text in odd])
    assert all(0 <= answer["mood"]["probability"] <= 1 for answer in answers)


def test_what_lies_beyond_the_limit_is_not_read(model: Trained) -> None:
    module, _, _ = model("minilm")
    assert close(module.predict("film " * 100), module.predict("film " * 14))  # 16 tokens with [CLS] and [SEP]
    assert not close(module.predict("film " * 100), module.predict("film " * 13))


@pytest.mark.parametrize("kind", ["text", "minilm"])
@pytest.mark.parametrize("value", [None, 3, float("nan"), ["a", "list"]])
def test_what_is_no_text_is_named(kind: str, value: Any, model: Trained) -> None:
    with pytest.raises(ValueError, match=r"Column 'text' must hold texts, got .* in row 1\. Fill it or drop the row"):
        model(kind)[0].predict([{"text": "fine"}, {"text": value}])


# Words


@pytest.mark.parametrize("kind", ["words", "bert words"])
def test_every_word_has_a_tag(kind: str, model: Trained) -> None:
    module, _, _ = model(kind)
    rows = [["unbelievably", "internationalization", "it's", "-"], [], ["Amsterdam"], ["", "a"]]
    answers = [answer["tags"] for answer in module.predict([{"words": words} for words in rows])]
    assert [answer["words"] for answer in answers] == rows
    assert [len(answer["tags"]) for answer in answers] == [4, 0, 1, 2]
    assert all(tag in ("B-LOC", "O") for answer in answers for tag in answer["tags"])


def test_words_beyond_the_limit_have_no_tag(model: Trained) -> None:
    module, _, _ = model("bert words")
    answer = module.predict({"words": ["film"] * 20})["tags"]
    assert [tag is None for tag in answer["tags"]] == [False] * 14 + [True] * 6
    assert [value is None for value in answer["probabilities"]] == [False] * 14 + [True] * 6


@pytest.mark.parametrize("value", [None, "a text", [1, 2], ["a", None]])
def test_what_is_no_list_of_words_is_named(value: Any, model: Trained) -> None:
    with pytest.raises(ValueError, match=r"Column 'words' must hold lists of words, got .* in row 1\. Split the text"):
        model("words")[0].predict([{"words": ["a"]}, {"words": value}])


# Tables


def test_gaps_and_new_categories_are_answered(model: Trained) -> None:
    module, _, _ = model("table")
    row = {"age": 30, "pay": 2000.0, "city": "Rome"}
    same = [{**row, "city": value} for value in (None, "", "Paris", float("nan"))]
    answers = module.predict(same)
    assert all(close(answer, answers[0]) for answer in answers)
    assert not close(answers[0], module.predict(row))
    gaps = module.predict([{**row, "pay": None}, {**row, "pay": float("nan")}])
    assert close(gaps[0], gaps[1])


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("age", None, r"Column 'age' must hold numbers, got none in row 1; the training split has no row without"),
        ("age", "40", r"Column 'age' must hold finite numbers, got a text in row 1: '40'\. Convert it"),
        ("pay", float("inf"), r"Column 'pay' must hold finite numbers, got .* in row 1: inf"),
        ("pay", pd.Timestamp("2024-01-31"), r"Column 'pay' must hold finite numbers, got a date in row 1"),
    ],
)
def test_numbers_that_are_none_are_named(column: str, value: Any, says: str, model: Trained) -> None:
    row = {"age": 30, "pay": 2000.0, "city": "Rome"}
    with pytest.raises(ValueError, match=says):
        model("table")[0].predict([row, {**row, column: value}])


def test_a_single_row_has_the_scale_of_training(model: Trained) -> None:
    """A row alone has no mean and deviation of its own: what was learned counts."""
    module, _, _ = model("table")
    rows = inputs(table_rows(), ("buys", "sum"))
    ages = torch.tensor([row["age"] for row in rows], dtype=torch.float64)
    made = module.inputs["s"]
    feature = made.collate(made.prepare({name: [rows[0][name]] for name in rows[0]}, [0]))["features"][0, 0]
    assert feature.item() == pytest.approx(((ages[0] - ages.mean()) / ages.std(correction=0)).item(), abs=1e-6)


# Images and other columns


def test_images_of_other_channels_or_sizes_are_named(model: Trained) -> None:
    module, _, _ = model("image")
    good = image_rows(1)[0]["pixels"]
    with pytest.raises(ValueError, match=r"Column 'pixels' must hold images of 3 channels as in training, got 1"):
        module.predict({"pixels": [[1, 2], [3, 4]]})
    with pytest.raises(ValueError, match=r"Column 'pixels' must hold images of one size, got .* in row 1"):
        module.predict([{"pixels": good}, {"pixels": good[:3]}])
    with pytest.raises(ValueError, match=r"Column 'pixels' must hold images, got NoneType in row 0"):
        module.predict({"pixels": None})


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_missing_is_named(kind: str, model: Trained) -> None:
    module, _, rows = model(kind)
    first = next(iter(rows[0]))
    short = {name: value for name, value in rows[1].items() if name != first}
    with pytest.raises(ValueError, match=rf"Column '{first}' must be in row 1, got columns .*\. Add it"):
        module.predict([rows[0], short])
    with pytest.raises(ValueError, match=rf"must be in row 1, got .* Did you mean '{first}_'\? Rename it"):
        module.predict([rows[0], {**short, f"{first}_": 1}])


@pytest.mark.parametrize("rows", [3, None, {"a"}, iter(())])
def test_what_are_no_rows_is_refused(rows: Any, model: Trained) -> None:
    with pytest.raises(TypeError, match="`rows` must be a text, a mapping, a list of these, a DataFrame or"):
        model("text")[0].predict(rows)


def test_a_bare_text_is_refused_where_rows_have_more(model: Trained) -> None:
    with pytest.raises(ValueError, match=r"Row 0 must be \{column: value\} with the columns \['age', 'pay', 'city'\]"):
        model("table")[0].predict("fine")


def test_a_model_without_data_says_so() -> None:
    module = MultiTaskModule([Task("mood")], KINDS["text"].encoder())
    with pytest.raises(ValueError, match=r"has not seen data yet\. Fit it with `MultiTaskDataModule`, or load"):
        module.predict("fine")


def test_several_sources_predict_what_their_columns_allow() -> None:
    """Tasks of two sources read their own columns of the same rows."""
    one, other = table_rows(), [{**row, "sum": row["sum"] * 2} for row in table_rows(seed=3)]
    module = MultiTaskModule([Task("buys", "a"), Task("sum", "b")], HardSharing(Tabular(4)))
    features: Any = {"features": ["age", "city"]}
    quiet().fit(
        module, MultiTaskDataModule({"a": Source(one, **features), "b": Source(other, **features)}, summary=False)
    )
    answers = module.predict(inputs(one, ("buys", "sum")))
    assert set(answers[0]) == {"buys", "sum"}
    assert close(answers[3]["sum"], module.predict(one[3], ["sum"])["sum"])


def test_no_label_is_read_by_predict(model: Trained) -> None:
    module, _, _ = model("text")
    labelled = text_rows(3, seed=1)
    wrong = [{**row, "mood": object(), "stars": "none", "about": 5} for row in labelled]
    assert close(module.predict(wrong), module.predict(labelled))


class Writer(BasePredictionWriter):
    """Notes numbers of rows, and the answers beside them."""

    def __init__(self) -> None:
        super().__init__("batch_and_epoch")
        self.batches: list[Any] = []
        self.epoch: list[Any] = []

    def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, batch_indices: Any, *rest: Any) -> None:
        self.batches.append(batch_indices)

    def write_on_epoch_end(self, trainer: Any, module: Any, predictions: Any, batch_indices: Any) -> None:
        self.epoch += batch_indices[0]


def numbered(count: int, target: str) -> list[dict[str, Any]]:
    return [{"x": [float(i), 1.0], target: float(i)} for i in range(count)]


@pytest.mark.parametrize("sources", [1, 2])
def test_a_writer_is_told_the_rows_of_each_batch(sources: int) -> None:
    """Of several sources, by source; also where workers read ahead, and where Lightning keeps no predictions."""
    rows = {"a": numbered(20, "size"), "b": numbered(7, "other")}
    held = dict(list({name: {"train": of, "predict": of} for name, of in rows.items()}.items())[:sources])
    tasks = [Task("size", "a", head=Regression()), Task("other", "b", head=Regression())][:sources]
    module = MultiTaskModule(tasks, HardSharing(torch.nn.Linear(2, 4), width=4, inputs=["x"]))
    for workers, keep in ((0, True), (2, False)):
        data = MultiTaskDataModule(held, batch_size=8, summary=False, num_workers=workers)
        writer = Writer()
        runner = quiet(max_epochs=1, limit_train_batches=1, limit_val_batches=0, callbacks=[writer])
        runner.fit(module, data)
        answers = runner.predict(module, data, return_predictions=keep)
        assert writer.epoch == writer.batches
        by_source = [{"a": of} if sources == 1 else of for of in writer.batches]
        assert [i for of in by_source for i in of["a"]] == list(range(20))
        assert sources == 1 or [i for of in by_source for i in of["b"]] == list(range(7))
        for answer, of in zip(answers or [], by_source, strict=keep):
            assert len(answer["size"]) == len(of["a"])
            assert close(
                answer["size"], [each["size"] for each in module.predict([rows["a"][i] for i in of["a"]], ["size"])]
            )
