"""A split is checked before anything is trained, without a Trainer."""

from __future__ import annotations

import math
from typing import Any

import pytest
from torch import nn

from lightning_mtl import BagOfWords, HardSharing, MultiTaskDataModule, MultiTaskModule, Source, Task, Vocabulary

ROWS: list[dict[str, Any]] = [{"x": [float(i % 5), 1.0], "mood": "ab"[i % 2], "size": i / 7} for i in range(40)]

HELD_OUT = [{**row, "x": [row["x"][0] + 0.5, 1.0]} for row in ROWS[:10]]


def model(**options: Any) -> MultiTaskModule:
    made = [Task("mood", **options), Task("size", **options)]
    return MultiTaskModule(made, HardSharing(nn.Linear(2, 8), width=8))


def check(test: list[dict[str, Any]], made: MultiTaskModule | None = None) -> None:
    MultiTaskDataModule({"s": {"train": ROWS, "test": test}}).check_split(made or model(), "test")


def test_a_good_split_passes_and_leaves_the_module_as_it_was() -> None:
    made = model()
    check(HELD_OUT, made)
    assert [task.head for task in made.tasks] == [None, None]
    assert not made.inputs


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"mood": "c"}, "row 9 has 'c'"),
        ({"size": math.inf}, "row 9 has inf"),
        ({"x": [math.nan, 1.0]}, "row 9, column 'x' is NaN"),
        ({"x": [1.0, -math.inf]}, "row 9, column 'x' is -inf"),
        ({"x": [1e39, 1.0]}, "row 9, column 'x' is inf"),
    ],
)
def test_what_training_would_refuse_is_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"split 'test'") as error:
        check([*HELD_OUT[:9], {**HELD_OUT[0], **row}])
    assert said in str(error.value)


def test_a_column_that_is_missing() -> None:
    with pytest.raises(ValueError, match="Row 0 must have column 'size'"):
        check([{"x": [0.0, 1.0], "mood": "a"}] * 3)


def test_no_source_has_the_split() -> None:
    with pytest.raises(ValueError, match="No source has the split 'test'"):
        MultiTaskDataModule({"s": {"train": ROWS}}).check_split(model(), "test")


@pytest.mark.parametrize("test", [HELD_OUT[:1], [HELD_OUT[0], {**HELD_OUT[1], "size": None}]])
def test_a_metric_needs_two_labels(test: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="at least 2 labels in split 'test'"):
        check(test)
    check(test, model(auxiliary=True))


def test_a_vocabulary_is_left_to_training() -> None:
    texts = [{"text": "a b" if i % 2 else "c d", "mood": "ab"[i % 2]} for i in range(8)]
    encoder = HardSharing(BagOfWords(tokenizer=Vocabulary()))
    data = MultiTaskDataModule({"s": Source({"train": texts, "test": [{"text": "a c", "mood": "a"}] * 2}, text="text")})
    data.check_split(MultiTaskModule([Task("mood")], encoder), "test")
    tokenizer: Any = encoder.tokenizer
    assert tokenizer.known is None
