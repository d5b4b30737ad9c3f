"""Runs in phases on which the tests of what holds earlier ones build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lightning_mtl import Binary, HardSharing, Multiclass, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.samplers import Phase, Phases, Rule
from tests.builders import splits
from tests.conftest import TrainerMaker

NAMES = ("one", "two", "three")
IN_A_ROW = Phases([Phase([name], steps=4) for name in NAMES], repeat=False)
"""Three phases of four steps each."""


def module(adam: bool = False, lr: float = 0.1, dropout: float = 0.0, **options: Any) -> MultiTaskModule:
    """Make a network of three tasks, each of a source of its own: yes or no, a class, a number."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Dropout(dropout)]
    heads = zip(NAMES, ("sign", "sign", "size"), (Binary(), Multiclass(2), Regression()), strict=True)
    tasks = [Task(name, target=target, head=head, weight=0.5 + (name == "two")) for name, target, head in heads]

    def optimizer(groups: Any) -> Any:
        if adam:
            return torch.optim.AdamW(groups, lr=lr, weight_decay=0.1)
        return torch.optim.SGD(groups, lr=lr)

    return MultiTaskModule(tasks, HardSharing(nn.Sequential(*layers), 5, inputs=["x"]), optimizer=optimizer, **options)


def data(rule: Rule | None = IN_A_ROW, **options: Any) -> MultiTaskDataModule:
    """Make three sources of 24 rows."""
    made = {name: splits(24, seed) for seed, name in enumerate(NAMES)}
    feed = {"batch_size": 8, "sampling": rule, "seed": 0, "summary": False, "steps_per_epoch": 12}
    return MultiTaskDataModule(made, **{**feed, **options})


class Watch(L.Callback):
    """Notes tasks, weights and gradients of each step; stands before and behind the callback that adds to gradients."""

    def __init__(self) -> None:
        self.sources: list[set[str]] = []
        self.batches: list[dict[str, Any]] = []
        self.starts: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, Tensor]] = []
        self.gradients: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.starts.append({name: of.clone() for name, of in pl_module.state_dict().items()})

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.sources.append(set(batch))
        self.batches.append({name: columns["x"].clone() for name, columns in batch.items()})

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        named = dict(pl_module.named_parameters())
        self.weights.append({name: p.detach().clone() for name, p in named.items()})
        self.gradients.append({name: p.grad.clone() for name, p in named.items() if p.grad is not None})


def watched(trainer: TrainerMaker, *held: L.Callback, **options: Any) -> tuple[Watch, Watch, MultiTaskModule]:
    """Train in float64, and give what was before and after the callbacks in each step, and the network."""
    before, after, made = Watch(), Watch(), options.pop("made", None) or module()
    feed = options.pop("feed", None) or data()
    trainer(callbacks=[before, *held, after], precision="64-true", **options).fit(made, feed)
    return before, after, made


class Save(L.Callback):
    """Writes a checkpoint after some step."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def resumed(
    trainer: TrainerMaker, make: Callable[[], L.Callback], step: int, path: Path, **options: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Give the weights of a run, of one resumed after a step, and of one without the callback."""
    ends = []
    for callbacks, start in (([make(), Save(path, step)], None), ([make()], path), ([], None)):
        made = module(adam=True, lr=0.01, dropout=0.2)
        torch.manual_seed(0 if start is None else 5)
        trainer(callbacks=callbacks, **options).fit(made, data(), ckpt_path=start)
        ends.append(made.state_dict())
    whole, again, without = ends
    return whole, again, without


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Say whether weights are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
