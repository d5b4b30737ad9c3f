"""Labels of words, from lists of words to tags of words, with real trunks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import datasets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lightning_mtl import HardSharing, HuggingFace, MultiTaskDataModule, MultiTaskModule, Recurrent, Source, Task
from lightning_mtl.encoders import HashTokenizer
from lightning_mtl.heads import Tagging
from tests.builders import examples
from tests.models import Row, close, head, quiet, small_bert, word_rows


def bert() -> HardSharing:
    return HardSharing(HuggingFace(small_bert()))


def recurrent() -> HardSharing:
    return HardSharing(Recurrent(8, embedding=4, buckets=100))


def first_batch(rows: Sequence[Row] | datasets.Dataset, encoder: HardSharing, **options: Any) -> dict[str, Any]:
    """Read the first batch as training does, labels brought to the positions."""
    data = MultiTaskDataModule({"s": Source(rows, words="words")}, summary=False, batch_size=8, **options)
    module = MultiTaskModule([Task("tags")], encoder)
    trainer = quiet(max_steps=1, limit_train_batches=1)
    seen: list[Any] = []
    module.on_train_batch_start = lambda batch, batch_idx: seen.append(batch)  # type: ignore[method-assign]
    trainer.fit(module, data)
    return dict(seen[0]["s"])


def test_labels_land_on_the_first_part_of_each_word() -> None:
    """By hand: [CLS] un ##bel ##ie ##va ##bly fine [SEP] and [CLS] a b c [SEP], which is filled up."""
    rows = [{"words": ["unbelievably", "fine"], "tags": [1, 0]}, {"words": ["a", "b", "c"], "tags": [0, 1, -100]}]
    encoder = bert()
    own: Any = encoder.tokenizer
    pieces = own.tokenizer.tokenize("unbelievably")
    batch = first_batch(rows, encoder)
    order = [0, 1] if batch["input_ids"][0, 1] == own.tokenizer.convert_tokens_to_ids(pieces[0]) else [1, 0]
    long = [-100, 1, *[-100] * (len(pieces) - 1), 0, -100]
    short = [-100, 0, 1, -100, -100]
    width = max(len(long), len(short))
    expected = torch.tensor([of + [-100] * (width - len(of)) for of in (long, short)])
    assert len(pieces) > 1
    assert_close(batch["tags"], expected[order])
    assert batch["__words__"][order][0].tolist() == [-1, 0, *[-1] * (len(pieces) - 1), 1, -1] + [-1] * (
        width - len(long)
    )


def test_the_loss_is_that_of_a_loop_over_words() -> None:
    """Independent: word by word, its tokens one row at a time, mean over the words that have a tag."""
    rows = word_rows(10)
    rows[2]["tags"] = None
    rows[3]["tags"] = [None] * len(rows[3]["words"])
    rows[4]["tags"] = [*rows[4]["tags"][:-1], None]
    tags: list[Any] = ["B-LOC", "O"]
    encoder: Any = recurrent()
    module = MultiTaskModule([Task("tags", "s", head=Tagging(2, names=tags))], encoder).eval()
    source = Source(rows, words="words")
    batch = examples(source, encoder.tokenizer, ["tags"])[list(range(10))]
    step = module.run({"s": batch})
    terms: list[Tensor] = []
    for row in rows:
        numbers = [encoder.tokenizer([word])["input_ids"][0] for word in row["words"]]
        states, _ = encoder.trunk(torch.tensor([[number for word in numbers for number in word]]))
        place = 0
        for word, tag in zip(numbers, row["tags"] or [None] * len(numbers), strict=True):
            if tag is not None:
                logits = head(module, "tags").layers(states[0, place])
                terms.append(F.cross_entropy(logits[None], torch.tensor([tags.index(tag)])))
            place += len(word)
    assert_close(step.losses[0], torch.stack(terms).mean())
    assert len(step.results[0].target) == len(terms)


@pytest.mark.parametrize("make", [bert, recurrent])
def test_order_buckets_and_batches_change_no_loss(make: Any) -> None:
    """Validation loss, over all words, for every size of batch, with and without buckets."""
    rows, other = word_rows(20), word_rows(15, seed=9)
    losses = []
    torch.manual_seed(0)
    module = MultiTaskModule([Task("tags"), Task("long")], make())
    for size, bucket in [(1, True), (4, True), (4, False), (15, False)]:
        data = MultiTaskDataModule(
            {"s": Source({"train": rows, "validation": other}, words="words")},
            batch_size=size,
            bucket=bucket,
            summary=False,
        )
        trainer = quiet()
        trainer.validate(module, data, verbose=False)
        losses.append({name: float(value) for name, value in trainer.callback_metrics.items()})
    assert all(close(of, losses[0], 1e-5) for of in losses[1:])


@pytest.mark.parametrize("make", [bert, recurrent])
@pytest.mark.parametrize("as_dataset", [True, False])
def test_tags_are_learned(make: Any, as_dataset: bool) -> None:
    """Every Amsterdam is a place: a run finds that, whatever the words beside it."""
    rows: Any = word_rows(60)
    if as_dataset:
        features = datasets.Features(
            {
                "words": datasets.List(datasets.Value("string")),
                "tags": datasets.List(datasets.ClassLabel(names=["O", "B-LOC"])),
            }
        )
        coded = [{"words": row["words"], "tags": [int(tag != "O") for tag in row["tags"]]} for row in rows]
        rows = datasets.Dataset.from_list(coded, features=features)
    torch.manual_seed(0)
    module = MultiTaskModule([Task("tags")], make(), optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.02))
    data = MultiTaskDataModule({"s": Source(rows, words="words")}, batch_size=20, seed=0, summary=False)
    trainer = quiet(max_epochs=40)
    trainer.fit(module, data)
    assert trainer.callback_metrics["train/tags/f1"] == 1
    answer = module.predict({"words": ["the", "film", "Amsterdam"]})["tags"]
    assert answer["tags"] == ["O", "O", "B-LOC"]
    assert answer["spans"] == [{"type": "LOC", "start": 2, "end": 3, "text": "Amsterdam"}]


def test_words_beyond_the_limit_are_not_learned_but_do_no_harm() -> None:
    rows = [{"words": ["film"] * 40, "tags": ["O"] * 39 + ["X"]}, {"words": ["plot"], "tags": ["X"]}] * 4
    batch = first_batch(rows, bert())
    assert batch["tags"].shape[1] == 16
    assert (batch["tags"] >= 0).sum(1).unique().tolist() == [1, 14]


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_row_with_more_or_fewer_tags_than_words_is_named(change: int, split: str) -> None:
    made = {"train": word_rows(12), "validation": word_rows(12, seed=1)}
    row = made[split][7]
    row["tags"] = [*row["tags"], "O"] if change > 0 else row["tags"][:-1]
    says = rf"Task 'tags' must have a label for each word: source 's', split '{split}', row 7 has {len(row['words'])} words"
    module = MultiTaskModule([Task("tags")], recurrent())
    with pytest.raises(ValueError, match=says):
        quiet().fit(module, MultiTaskDataModule({"s": Source(made, words="words")}, summary=False))


def test_a_trunk_without_positions_is_refused() -> None:
    class Mean(nn.Module):
        width = 4
        tokenizer = HashTokenizer(50, pairs=False)

        def forward(self, input_ids: Tensor) -> Tensor:
            return input_ids[:, :1].float().expand(-1, 4)

    module = MultiTaskModule([Task("tags")], HardSharing(Mean()))
    with pytest.raises(ValueError, match=r"Features for `Tagging` must have the shape \[batch, length, width\]"):
        quiet().fit(module, MultiTaskDataModule({"s": Source(word_rows(), words="words")}, summary=False))


def test_an_unknown_tag_in_validation_is_named() -> None:
    other = word_rows(6, seed=3)
    other[4]["tags"] = ["B-PER", *other[4]["tags"][1:]]
    module = MultiTaskModule([Task("tags")], recurrent())
    data = MultiTaskDataModule({"s": Source({"train": word_rows(), "validation": other}, words="words")}, summary=False)
    with pytest.raises(ValueError, match=r"split 'validation', row 4.*'B-PER'"):
        quiet().fit(module, data)


def test_padding_of_other_rows_changes_no_prediction_of_tags() -> None:
    torch.manual_seed(0)
    module = MultiTaskModule([Task("tags")], bert())
    quiet().fit(module, MultiTaskDataModule({"s": Source(word_rows(), words="words")}, summary=False))
    rows = [{"words": row["words"]} for row in word_rows(30, seed=5)]
    random.Random(1).shuffle(rows)
    assert close(module.predict(rows, batch_size=7), [module.predict(row) for row in rows])


@pytest.mark.parametrize("size", [1, 4, 24])
def test_rows_without_tags_may_be_longer_than_others(size: int) -> None:
    """Whatever rows meet in a batch: none with tags, only rows without words, the longest without."""
    rows = word_rows()
    for i, row in enumerate(rows):
        if len(row["words"]) > 4 or i % 3 == 0:
            row["tags"] = None
    rows[5] |= {"words": [], "tags": []}
    module = MultiTaskModule([Task("tags"), Task("long")], recurrent())
    data = MultiTaskDataModule({"s": Source(rows, words="words")}, batch_size=size, summary=False)
    trainer = quiet()
    trainer.fit(module, data)
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


def test_more_words_than_labels_in_a_batch_are_named() -> None:
    tokenizer = recurrent().tokenizer
    rows = [{"words": ["a", "b"], "tags": None}, {"words": ["a", "b"], "tags": ["X"]}, {"words": ["a"], "tags": ["O"]}]
    batch = examples(Source(rows, words="words"), tokenizer, ["tags"])[[0, 1, 2]]
    with pytest.raises(ValueError, match="row 1 has 'at most 1 labels for 2 words'"):
        Task("tags", head=Tagging(2, names=["O", "X"])).label(batch)
