"""Small models and data on which every test can build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_mtl import HardSharing, Multiclass, MultiTaskModule, Regression, Source, Task
from lightning_mtl.data import Examples
from lightning_mtl.encoders import Tokenizer

Row = dict[str, Any]


def rows(count: int = 60, seed: int = 0) -> list[Row]:
    """Rows of four features `x`, a class `sign` (0, 1) that they decide, and a number `size`."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return [{"x": v.tolist(), "sign": int(v[0] > 0), "size": float(v[1] + v[2])} for v in x]


def splits(count: int = 60, seed: int = 0) -> dict[str, list[Row]]:
    return {"train": rows(count, seed), "validation": rows(20, seed + 100), "test": rows(20, seed + 200)}


def tasks(names: Sequence[str] = ("sign", "size"), **options: Any) -> list[Task]:
    made = {"sign": Task("sign", head=Multiclass(2), **options), "size": Task("size", head=Regression(), **options)}
    return [made[name] for name in names]


def encoder(width: int = 8, seed: int = 0) -> HardSharing:
    torch.manual_seed(seed)
    return HardSharing(nn.Sequential(nn.Linear(4, width), nn.Tanh()), width=width, inputs=["x"])


def module(which: Sequence[Task] | None = None, lr: float = 0.05, seed: int = 0, **options: Any) -> MultiTaskModule:
    shared = encoder(seed=seed)
    torch.manual_seed(seed + 1)
    made = tasks() if which is None else which
    return MultiTaskModule(made, shared, optimizer=lambda groups: torch.optim.SGD(groups, lr=lr), **options)


def leaning(gramian: Tensor) -> Tensor:
    """Weigh by a rule that feels the directions, the lengths and the scale of the gradients."""
    return 1 / (1 + gramian.diagonal()) + gramian.sum(1) / gramian.trace()


def columns(of: Sequence[Row]) -> dict[str, Tensor]:
    """Make the batch that a plain collate makes."""
    return {name: torch.tensor([row[name] for row in of]) for name in of[0]}


def examples(
    source: Source,
    tokenizer: Tokenizer | None = None,
    targets: Sequence[str] | None = None,
    name: str = "",
    not_inputs: Sequence[str] = (),
) -> Examples:
    """Read a source's training rows as a data module does."""
    return source.examples("train", source.inputs(tokenizer, targets, name, not_inputs), targets, name)
