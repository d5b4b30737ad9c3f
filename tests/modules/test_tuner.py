"""Lightning's Tuner finds a rate and a batch size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch.tuner.tuning import Tuner

from lightning_mtl import FineTuning, MultiTaskDataModule, MultiTaskModule
from tests.builders import encoder, splits, tasks
from tests.conftest import TrainerMaker

OPTIMIZERS: dict[str, Callable[..., Any] | None] = {
    "default": None,
    "own": lambda groups: torch.optim.SGD(groups, lr=0.1),
    "fine-tuning": FineTuning(lr=1e-5, freeze_steps=2),
}


def module(kind: str) -> MultiTaskModule:
    return MultiTaskModule(tasks(), encoder(), optimizer=OPTIMIZERS[kind])


def data(rows: int = 256, batch_size: int = 8) -> MultiTaskDataModule:
    return MultiTaskDataModule({"s": splits(rows)}, batch_size=batch_size, summary=False)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_rate_is_found_and_used(kind: str, trainer: TrainerMaker) -> None:
    made, source, run = module(kind), data(), trainer(max_epochs=2)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    finder = Tuner(run).lr_find(made, datamodule=source, num_training=30)
    assert finder is not None
    assert made.lr == finder.suggestion()
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    run.fit(made, datamodule=source)
    groups = run.optimizers[0].param_groups
    assert {group.get("initial_lr", group["lr"]) for group in groups} == {made.lr}
    assert all(not torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert run.global_step == 64


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_batch_size_is_found_and_used(kind: str, trainer: TrainerMaker) -> None:
    sizes: list[int] = []

    class Watched(MultiTaskModule):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            sizes.append(len(batch["s"]["x"]))

    made = Watched(tasks(), encoder(), optimizer=OPTIMIZERS[kind])
    source, run = data(batch_size=2), trainer(max_epochs=2)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    found = Tuner(run).scale_batch_size(made, datamodule=source, mode="power", max_trials=3, steps_per_trial=2)
    assert found == source.batch_size == 8
    assert sizes == [2, 2, 4, 4, 8, 8]
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    run.fit(made, datamodule=source)
    assert sizes[6:] == [8] * 2 * (256 // 8)
    assert run.global_step == len(sizes[6:])
