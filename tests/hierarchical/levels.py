"""Encoders of three levels and batches for them, for the tests of hierarchies."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from lightning_mtl import (
    Binary,
    HierarchicalModule,
    HuggingFace,
    HuggingFaceLevels,
    LevelledEncoder,
    Levels,
    Multiclass,
    StackedRecurrent,
    Tagging,
    Task,
)
from tests.models import MINILM

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 24,
}


FAMILIES: dict[str, dict[str, Any]] = {
    "electra": {"embedding_size": 16},
    "distilbert": {"dim": 16, "hidden_dim": 24, "n_layers": 4, "n_heads": 2},
    "mpnet": {},
    "deberta-v2": {"relative_attention": True, "position_buckets": 4, "pos_att_type": ["c2p", "p2c"]},
    "llama": {},
    "albert": {"embedding_size": 16},  # all of its layers are one
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2},
}


@cache
def folder_of(family: str) -> str:
    """Make a folder of a small model with random weights."""
    folder = Path(mkdtemp(prefix=family))
    plain: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    modern: dict[str, Any] = {
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    }
    modern |= {"local_attention": 4, "global_attn_every_n_layers": 2}
    torch.manual_seed(0)
    model: PreTrainedModel
    match family:
        case "bert":
            model = BertModel(BertConfig(**SIZES, **plain))
        case "roberta":
            model = RobertaModel(RobertaConfig(**SIZES, **plain, pad_token_id=0))
        case "modernbert":
            model = ModernBertModel(ModernBertConfig(**SIZES, **modern))
        case _:
            make: Any = AutoModel.from_config
            model = make(AutoConfig.for_model(family, **{**SIZES, **FAMILIES[family]}))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(MINILM).save_pretrained(folder)
    return str(folder)


def recurrent(**options: Any) -> LevelledEncoder:
    return StackedRecurrent(16, 3, embedding=8, buckets=40, **options)


def pretrained(family: str, **options: Any) -> LevelledEncoder:
    return HuggingFaceLevels(HuggingFace(folder_of(family)), cut=[1, 2, 4], **options)


def convolutions() -> LevelledEncoder:
    def block(a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2))

    return Levels(nn.Sequential(block(1, 6), block(6, 8), block(8, 10)))


ENCODERS: dict[str, Callable[[], LevelledEncoder]] = {
    "recurrent": recurrent,
    "convolutions": convolutions,
    "bert": lambda: pretrained("bert"),
    "roberta": lambda: pretrained("roberta", shortcut=True),
    "modernbert": lambda: pretrained("modernbert"),
}


def columns(name: str, rows: int = 9) -> dict[str, Tensor]:
    """Draw what an encoder reads."""
    if name == "convolutions":
        return {"x": torch.randn(rows, 1, 8, 8, dtype=torch.float64)}
    ids = torch.randint(5, 40, (rows, 7))
    lengths = torch.randint(3, 8, (rows,))
    mask = torch.arange(7) < lengths[:, None]
    ids = ids * mask
    return {"input_ids": ids} if name == "recurrent" else {"input_ids": ids, "attention_mask": mask.long()}


def tasks(name: str, **top: Any) -> list[Task]:
    """Make a task for each level; on words, the lowest labels each of them."""
    low = Binary() if name == "convolutions" else Tagging(5)
    return [
        Task("low", head=low, level=1),
        Task("middle", head=Multiclass(3), level=2, weight=0.5),
        Task("high", head=Multiclass(4), **top),
    ]


def labels(name: str, inputs: dict[str, Tensor], *, mixed: bool) -> dict[str, Tensor]:
    """Draw labels; of a mixed batch each task has some rows of its own, and one that it shares with the next."""
    rows = len(next(iter(inputs.values())))
    shape = (rows,) if name == "convolutions" else inputs["input_ids"].shape
    drawn = {
        "low": torch.randint(2 if name == "convolutions" else 5, shape),
        "middle": torch.randint(3, (rows,)),
        "high": torch.randint(4, (rows,)),
    }
    if name != "convolutions":
        drawn["low"] = drawn["low"].masked_fill(inputs["input_ids"] == 0, -100)
    if mixed:
        number = torch.arange(rows)
        kept = {"low": number % 3 == 0, "middle": number % 3 == 1, "high": (number % 3 == 2) | (number == 4)}
        for task, there in kept.items():
            drawn[task][~there] = -100
    return drawn


def module(name: str, made: list[Task] | None = None, **options: Any) -> Any:
    """Make a module of these tasks, in float64; its parts are of any type."""
    ENCODERS[name]()  # a folder is made at first
    torch.manual_seed(1)
    return HierarchicalModule(made or tasks(name), ENCODERS[name](), **options).double()
