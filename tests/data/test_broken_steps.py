"""A checkpoint of a step that broke off loses no batch: the resumed run takes the batch of that step again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import OnExceptionCheckpoint
from torch import Tensor

from lightning_mtl import EpisodeDataModule, HardSharing, MetaLearningModule, MultiTaskDataModule, Regression, Task
from lightning_mtl.families import Sinusoid
from lightning_mtl.samplers import MultiTaskSampler, Rows, Temperature

from .. import builders, models
from ..cases import over


@over("seed", range(5))
def test_the_state_before_the_last_batch_plans_it_again(seed: int) -> None:
    def sampler() -> MultiTaskSampler:
        return MultiTaskSampler(
            {"a": Rows(11, 3), "b": Rows(5, 2)}, Temperature(2.0), batches="mixed", batch=4, steps=6, seed=seed
        )

    whole = sampler()
    plans, before, after = [], [], []
    for epoch in range(2):
        whole.epoch = epoch
        for plan in whole:
            whole.deliver()
            plans.append(plan)
            before.append(whole.state_dict(before_last=True))
            after.append(whole.state_dict())
    for number, state in enumerate(before):
        again = sampler()
        again.load_state_dict(state)
        again.epoch = number // 6
        assert next(iter(again)) == plans[number]
        assert number == 0 or {**after[number - 1], "epoch": 0, "taken": 0} == {**state, "epoch": 0, "taken": 0}


class Broken(L.Callback):
    """Runs out of memory in a hook of the step with this number."""

    def __init__(self, hook: str, step: int) -> None:
        self.step = step
        setattr(self, hook, self._break)

    def _break(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise MemoryError

    def on_train_batch_end(self, *args: Any) -> None:
        """Be a hook that Lightning calls."""


def weights(module: L.LightningModule) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def multi_task() -> tuple[Any, Any]:
    torch.manual_seed(0)
    return builders.module(), MultiTaskDataModule({"s": builders.rows(40)}, batch_size=8, seed=0, summary=False)


def meta() -> tuple[Any, Any]:
    torch.manual_seed(0)
    module = MetaLearningModule([Task("y", head=Regression())], HardSharing(torch.nn.Linear(1, 4), width=4))
    return module, EpisodeDataModule({"w": Sinusoid()}, shots=3, episodes=4, steps_per_epoch=5, seed=0, summary=False)


@pytest.mark.filterwarnings("ignore:Checkpoint directory", r"ignore:`?\.fit\(ckpt_path=")
@pytest.mark.parametrize("make", [multi_task, meta])
@pytest.mark.parametrize(
    ("hook", "step"),
    [("on_before_backward", 3), ("on_before_backward", 5), ("on_train_batch_start", 7), ("on_train_batch_end", 8)],
)
def test_no_batch_is_lost(make: Any, hook: str, step: int, tmp_path: Path) -> None:
    found = []
    for callbacks, start in (
        ([], None),
        ([Broken(hook, step), OnExceptionCheckpoint(tmp_path)], None),
        ([], tmp_path / "on_exception.ckpt"),
    ):
        module, data = make()
        trainer = models.quiet(max_epochs=2, callbacks=callbacks, enable_checkpointing=bool(callbacks))
        with suppress(MemoryError):
            trainer.fit(module, data, ckpt_path=start)
        found.append((trainer.global_step, weights(module)))
    assert [steps for steps, _ in found] == [10, step, 10]
    assert torch.equal(found[0][1], found[2][1])
