"""Episodes for tests: rows with classes, modules for them, and waves."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import nn

from lightning_mtl import EpisodeDataModule, HardSharing, MetaLearningModule, Multiclass, Regression, Task
from lightning_mtl.adaptation import MAML, Adaptation
from lightning_mtl.families import Sinusoid

Row = dict[str, Any]
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def kinds(classes: int = 6, each: int = 10, first: int = 0, seed: int = 0) -> list[Row]:
    """Rows of four features `x` around a middle for each class `kind`."""
    draw = torch.Generator().manual_seed(seed + first)
    middles = 2 * torch.randn(classes, 4, generator=draw)
    x = middles.repeat_interleave(each, 0) + torch.randn(classes * each, 4, generator=draw)
    return [{"x": v.tolist(), "kind": f"k{first + i // each}"} for i, v in enumerate(x)]


def splits(each: int = 10) -> dict[str, list[Row]]:
    return {"train": kinds(6, each), "validation": kinds(4, each, 6), "test": kinds(4, each, 10)}


def of_rows(**options: Any) -> EpisodeDataModule:
    """Three ways, two shots, three queries."""
    given: dict[str, Any] = {"ways": 3, "shots": 2, "queries": 3, "episodes": 4, "steps_per_epoch": 3, **options}
    quiet: dict[str, Any] = {"validation_episodes": 6, "test_episodes": 10, "seed": 0, "summary": False}
    return EpisodeDataModule({"rows": splits()}, **{**quiet, **given})


def of_waves(**options: Any) -> EpisodeDataModule:
    quiet: dict[str, Any] = {"validation_episodes": 8, "test_episodes": 10, "seed": 0, "summary": False}
    given: dict[str, Any] = {"shots": 5, "queries": 6, "episodes": 4, "steps_per_epoch": 3, **options}
    return EpisodeDataModule({"waves": Sinusoid()}, **{**quiet, **given})


def trunk(inputs: int = 4, width: int = 8, seed: int = 0) -> HardSharing:
    torch.manual_seed(seed)
    return HardSharing(nn.Sequential(nn.Linear(inputs, width), nn.Tanh()), width=width)


def for_rows(rule: Adaptation | None = None, seed: int = 0, lr: float = 0.1, **options: Any) -> MetaLearningModule:
    encoder = trunk(seed=seed)
    torch.manual_seed(seed + 1)
    made = [Task("kind", head=Multiclass(3))]
    given: dict[str, Any] = {
        "adaptation": rule or MAML(0.1),
        "optimizer": lambda p: torch.optim.SGD(p, lr=lr),
        **options,
    }
    return MetaLearningModule(made, encoder, **given)


def for_waves(rule: Adaptation | None = None, seed: int = 0, **options: Any) -> MetaLearningModule:
    encoder = trunk(1, seed=seed)
    torch.manual_seed(seed + 1)
    made = [Task("wave", target="y", head=Regression())]
    given: dict[str, Any] = {
        "adaptation": rule or MAML(0.01),
        "optimizer": lambda p: torch.optim.SGD(p, lr=0.01),
        **options,
    }
    return MetaLearningModule(made, encoder, **given)


class OfRank(L.Trainer):
    """A Trainer of one process of several, which need not run."""

    sampling: dict[str, Any]

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        return self.sampling


def on_rank(data: EpisodeDataModule, rank: int, ranks: int) -> EpisodeDataModule:
    """The data module as a Trainer of several processes has it on one of them."""
    sampling = {"num_replicas": ranks, "rank": rank}
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    data.trainer = OfRank(accelerator="cpu", enable_model_summary=False, **quiet)
    data.trainer.sampling = sampling
    return data


def fit(module: MetaLearningModule, data: Any, **options: Any) -> L.Trainer:
    trainer = L.Trainer(**{**QUIET, "max_epochs": 1, **options})
    trainer.fit(module, data)
    return trainer
