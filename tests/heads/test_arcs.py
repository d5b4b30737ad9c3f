"""Heads of words: scores, alignment with sub-words, and runs that learn them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_mtl import (
    Arcs,
    HardSharing,
    HierarchicalModule,
    HuggingFace,
    HuggingFaceLevels,
    MultiTaskDataModule,
    MultiTaskModule,
    Source,
    StackedRecurrent,
    Tagging,
    Task,
    Vocabulary,
)
from lightning_mtl.encoders import LevelledEncoder
from tests.builders import examples
from tests.cases import over
from tests.models import Row, close, quiet, small_bert

WORDS = ["the", "unbelievably", "fine", "Amsterdam", "it's", "film"]


def sentences(count: int = 40, seed: int = 0) -> list[Row]:
    """Every word depends on the film, if there is one before the end, else on the word before; the film on the root."""
    draw = random.Random(seed)
    made = []
    for i in range(count):
        words = draw.choices(WORDS[:-1], k=1 + i % 5)
        words.insert(draw.randrange(len(words)), "film")
        film = words.index("film") + 1
        heads = [0 if word == film else film for word in range(1, len(words) + 1)]
        made.append({"words": words, "head": heads, "tags": ["X" if word == "film" else "Y" for word in words]})
    return made


def recurrent() -> LevelledEncoder:
    return StackedRecurrent(32, 2, embedding=16, tokenizer=Vocabulary(50))


def bert() -> LevelledEncoder:
    return HuggingFaceLevels(HuggingFace(small_bert()))


def built(width: int = 6, size: int = 4) -> Arcs:
    head = Arcs(size)
    head.build(width)
    return head.double()


@over("seed", range(5))
def test_scores_and_loss_are_those_of_the_paper(seed: int) -> None:
    """A loop over pairs of words."""
    torch.manual_seed(seed)
    head, features = built(), torch.randn(2, 5, 6, dtype=torch.float64)
    layers: Any = head.layers
    expected = torch.full((2, 5, 6), -torch.inf, dtype=torch.float64)
    for row in range(2):
        for i in range(5):
            dependant = torch.relu(layers.dependant.weight @ features[row, i] + layers.dependant.bias)
            for j in range(6):
                own = layers.root if j == 0 else layers.head(features[row, j - 1]).relu()
                if j != i + 1:
                    expected[row, i, j] = own @ layers.pair.weight @ dependant + own @ layers.alone.weight[0]
    scores = head(features)
    assert_close(scores, expected)
    target = torch.tensor([0, 3, 1, 5, 4])
    terms = [scores[0, i, of] - scores[0, i].exp().sum().log() for i, of in enumerate(target.tolist())]
    assert_close(head.loss(scores[0], target), -torch.stack(terms).mean())


@over("seed", range(5))
def test_masked_positions_are_never_predicted_and_get_no_gradient(seed: int) -> None:
    torch.manual_seed(seed)
    head, features = built(), torch.randn(3, 7, 6, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(3, 7) < 0.6
    mask[:, 0] = True
    prediction = head(features, mask)
    assert not (head.predict(prediction)[:, :, 1:] * ~mask[:, None]).any()
    loss = head.loss(prediction[mask], torch.zeros(int(mask.sum()), dtype=torch.long))
    (gradient,) = torch.autograd.grad(loss, features)
    assert not gradient[~mask].any()
    assert gradient[mask].any(-1).all()


def test_padding_changes_no_score() -> None:
    head, features = built(), torch.randn(2, 4, 6, dtype=torch.float64)
    padded = torch.cat([features, torch.full((2, 3, 6), 9.0, dtype=torch.float64)], 1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]] * 2)
    assert_close(head(padded, mask)[:, :4, :5], head(features))


@over("seed", range(10))
def test_labels_and_answers_are_inverse(seed: int) -> None:
    """Numbers of words become positions; what scores these positions highest answers the numbers, whatever parts words have."""
    draw = random.Random(seed)
    parts = [[draw.randint(1, 3) for _ in range(draw.randint(1, 6))] for _ in range(4)]
    starts = [[-1, *(n if k == 0 else -1 for n, count in enumerate(row) for k in range(count)), -1] for row in parts]
    heads = [[draw.choice([h for h in range(len(row) + 1) if h != i + 1]) for i in range(len(row))] for row in parts]
    length = max(map(len, starts))
    words = torch.tensor([row + [-1] * (length - len(row)) for row in starts])
    columns: dict[str, Any] = {"head": heads, "__words__": words}
    Task("head", head=Arcs()).label(columns)
    target = columns["head"]
    assert ((target >= 0) == (words >= 0)).all()
    answers = Arcs().answers(nn.functional.one_hot(target.clamp(min=0), length + 1).float(), words)
    assert [answer["heads"] for answer in answers] == heads


def test_the_first_part_of_a_word_stands_for_it() -> None:
    """By hand: [CLS] un ##bel ... fine film [SEP]; the second word is the root, the others depend on it."""
    rows = [{"words": ["unbelievably", "fine", "film"], "head": [2, 0, 2]}]
    encoder: Any = bert()
    batch = examples(Source(rows, words="words"), encoder.tokenizer, ["head"])[[0]]
    parts = int((batch["__words__"][0] == 1).nonzero()) - 1
    Task("head", head=Arcs()).label(batch)
    assert parts > 1
    place = parts + 2  # of "fine", from 1
    assert batch["head"].tolist() == [[-100, place, *[-100] * (parts - 1), 0, place, -100]]


def test_a_head_that_is_not_read_is_no_label() -> None:
    columns: dict[str, Any] = {"head": [[3, 0, 2]], "__words__": torch.tensor([[0, 1]])}
    Task("head", head=Arcs()).label(columns)
    assert columns["head"].tolist() == [[-100, 0]]


@pytest.mark.parametrize(
    ("heads", "row", "value"),
    [
        ([[2, 0], [0]], None, None),
        ([[2, 0], [2]], 1, 2),  # beyond its own sentence, though not beyond the longest
        ([[3, 0], [0]], 0, 3),
        ([[-1, 0], [0]], 0, -1),
        ([[2, 2], [0]], 0, 2),  # itself
        ([[None, 0], [-100]], None, None),
        (torch.tensor([[2, 0], [0, 3]]), 1, 3),
    ],
)
def test_a_head_beyond_the_sentence_is_named(heads: Any, row: int | None, value: int | None) -> None:
    columns: dict[str, Any] = {"head": heads, "__words__": torch.tensor([[0, 1], [0, -1]])}
    if row is None:
        Task("head", head=Arcs()).label(columns)
        return
    says = rf"must be the number of another word of its row, .*row {row} has {value}\."
    with pytest.raises(ValueError, match=says):
        Task("head", head=Arcs()).label(columns)


def test_a_bad_head_is_found_before_training() -> None:
    rows = sentences()
    rows[7]["head"] = [len(rows[7]["words"]) + 1, *rows[7]["head"][1:]]
    module = HierarchicalModule([Task("head", head=Arcs())], recurrent())
    with pytest.raises(ValueError, match=r"source 's', split 'train', row 7 has"):
        quiet().fit(module, MultiTaskDataModule({"s": Source(rows, words="words")}, summary=False))


def trained(encoder: LevelledEncoder, folder: Path | None = None, epochs: int = 1) -> tuple[HierarchicalModule, Any]:
    tasks = [Task("tags", level=1), Task("head", head=Arcs(16), feeds_from=["tags"])]
    torch.manual_seed(0)
    module = HierarchicalModule(tasks, encoder, optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.01))
    rows = datasets.Dataset.from_list(sentences(60))
    trainer = quiet(folder, max_epochs=epochs)
    data = MultiTaskDataModule({"s": Source({"train": rows, "test": sentences(20, 1)}, words="words")}, batch_size=20)
    data.summary = False
    trainer.fit(module, data)
    return module.eval(), (trainer, data)


@pytest.mark.parametrize("encoder", [recurrent, pytest.param(bert, marks=pytest.mark.slow)])
def test_heads_are_learned(encoder: Any) -> None:
    module, (trainer, data) = trained(encoder(), epochs=40)
    (found,) = trainer.test(module, data, verbose=False)
    assert found["test/head/accuracy"] == 1
    answer = module.predict({"words": ["it's", "Amsterdam", "film", "unbelievably"]}, ["head"])["head"]
    assert answer["heads"] == [3, 3, 0, 3]
    assert answer["words"][2] == "film"
    assert len(answer["probabilities"]) == 4


@pytest.mark.parametrize("encoder", [recurrent, pytest.param(bert, marks=pytest.mark.slow)])
def test_the_metric_is_the_share_of_right_answers(encoder: Any) -> None:
    module, (trainer, data) = trained(encoder(), epochs=0)
    (found,) = trainer.test(module, data, verbose=False)
    rows = sentences(20, 1)
    told = module.predict([{"words": row["words"]} for row in rows])
    right = [
        a == b
        for row, of in zip(rows, told, strict=True)
        for a, b in zip(row["head"], of["head"]["heads"], strict=True)
    ]
    assert found["test/head/accuracy"] == pytest.approx(sum(right) / len(right))
    assert 0 < sum(right) < len(right)


@pytest.mark.parametrize("encoder", [recurrent, bert])
def test_a_checkpoint_a_folder_and_an_export_say_the_same(encoder: Any, tmp_path: Path) -> None:
    module, (trainer, _) = trained(encoder(), tmp_path)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    module.save_pretrained(tmp_path / "folder")
    rows = [{"words": row["words"]} for row in sentences(9, 2)]
    expected = module.predict(rows)
    assert close(HierarchicalModule.load_from_checkpoint(tmp_path / "a.ckpt").predict(rows), expected)
    assert close(HierarchicalModule.from_pretrained(tmp_path / "folder").predict(rows), expected)
    batch = module.inputs["s"](rows)
    given = module.export(["head"])(batch)["head"]
    exported = [answer["heads"] for answer in Arcs().answers(given, batch["__words__"])]
    assert exported == [answer["head"]["heads"] for answer in expected]


def test_an_export_can_be_traced() -> None:
    module, _ = trained(bert())
    batch = module.inputs["s"]([{"words": row["words"]} for row in sentences(5, 2)])
    program = module.export(["head"], format="torch").module()
    assert_close(program(batch)["head"], module.export(["head"])(batch)["head"])


def test_a_flat_module_scores_as_a_hierarchy_does() -> None:
    encoder: Any = HardSharing(HuggingFace(small_bert()))
    flat = MultiTaskModule([Task("head", head=Arcs(8))], encoder).eval()
    deep = HierarchicalModule([Task("head", head=Arcs(8))], bert()).eval()
    deep.heads.load_state_dict(flat.heads.state_dict())
    batch = examples(Source(sentences(6), words="words"), encoder.tokenizer, ["head"])[list(range(6))]
    made: list[Tensor] = [module({"s": dict(batch)})["head"] for module in (flat, deep)]
    assert_close(*made)
    losses = [module.run({"s": dict(batch)}).losses[0] for module in (flat, deep)]
    assert_close(*losses)


def test_words_that_are_not_read_have_no_head() -> None:
    module, _ = trained(bert())
    answer = module.predict({"words": ["fine"] * 20}, ["head"])["head"]
    assert [of is None for of in answer["heads"]] == [False] * 14 + [True] * 6


def test_a_task_of_heads_feeds_none() -> None:
    tasks = [Task("head", head=Arcs(), level=1), Task("tags", head=Tagging(3), feeds_from=["head"])]
    with pytest.raises(ValueError, match=r"`feeds_from` must name tasks whose labels have embeddings, got 'head'"):
        HierarchicalModule(tasks, recurrent())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="`size` must be a whole number of at least 1, got 0"):
        Arcs(0)
    with pytest.raises(
        ValueError, match=r"Features for `Arcs` must have the shape \[batch, length, width\], got \[2, 6\]"
    ):
        built()(torch.ones(2, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match="`words` must say which word starts at each position"):
        Arcs().answers(torch.ones(1, 2, 3))
