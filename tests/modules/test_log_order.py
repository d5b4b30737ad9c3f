"""What callbacks read within a step is of that step; a batch that an optimizer runs several times is noted once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_mtl import MultiTaskDataModule, MultiTaskModule
from lightning_mtl._lightning import callbacks_of
from lightning_mtl.balancers import FAMO, MGDA, DynamicWeightAverage, GradNorm, GradVac
from tests.builders import encoder, splits, tasks
from tests.models import quiet


class Noted(MultiTaskModule):
    """Notes the loss of each step."""

    def on_fit_start(self) -> None:
        self.found: list[Tensor] = []

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        self.found.append(loss.detach())
        return loss


class Reader(L.Callback):
    """Reads what is published, as its user's code may, and gives a value of its own."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.read: list[Tensor] = []
        pl_module.train_log.extra_values.append(lambda: {"train/own": float(len(self.read))})

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        self.read.append(trainer.callback_metrics.get("train/loss", torch.tensor(torch.nan)))


class Keep(ModelCheckpoint):
    """Notes what it reads."""

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        super().on_train_batch_end(trainer, *args)
        self.own = [*getattr(self, "own", []), float(trainer.callback_metrics["train/own"])]


def data() -> MultiTaskDataModule:
    return MultiTaskDataModule({"s": splits(40)}, batch_size=8, seed=0, summary=False)


@pytest.mark.parametrize("first", [True, False])
def test_callbacks_read_the_loss_of_the_step(first: bool, tmp_path: Path) -> None:
    made, reader = Noted(tasks(), encoder()), Reader()
    keep = Keep(tmp_path, "{step}", monitor="train/loss", every_n_train_steps=1, save_top_k=-1)
    given = [reader, keep] if first else [keep, reader]
    run = quiet(callbacks=given, log_every_n_steps=1, max_epochs=2, enable_checkpointing=True)
    before = list(callbacks_of(run))
    run.fit(made, data())
    assert callbacks_of(run)[1:] == before  # the data module adds one
    torch.testing.assert_close(torch.stack(reader.read), torch.stack(made.found))
    kept = {path.split("step=")[1]: float(score) for path, score in keep.best_k_models.items()}
    assert [kept[f"{step}.ckpt"] for step in range(1, 11)] == pytest.approx([float(loss) for loss in made.found])
    assert keep.own == list(range(1, 11))


def test_a_checkpoint_between_two_logs_is_judged_by_the_losses_since(tmp_path: Path) -> None:
    """What is logged stays as it is without it."""
    logged = []
    for keeps in (
        [],
        [ModelCheckpoint(tmp_path, "{step}", monitor="train/loss", every_n_train_steps=2, save_top_k=-1)],
    ):
        made, reader = Noted(tasks(), encoder()), Reader()
        run = quiet(callbacks=[reader, *keeps], log_every_n_steps=5, max_epochs=2, enable_checkpointing=bool(keeps))
        L.seed_everything(0, verbose=False)
        run.fit(made, data())
        logged.append([reader.read[4], reader.read[9]] if keeps else [run.callback_metrics["train/loss"]])
    found = torch.stack(made.found)
    kept = {int(path.split("step=")[1][:-5]): score for path, score in keeps[0].best_k_models.items()}
    since = {2: found[:2], 4: found[:4], 6: found[5:6], 8: found[5:8], 10: found[5:10]}
    assert kept.keys() == since.keys()
    for step, losses in since.items():
        torch.testing.assert_close(kept[step], losses.mean())
    torch.testing.assert_close(logged[1], [found[:5].mean(), found[5:].mean()])
    assert torch.equal(logged[1][1], logged[0][0])


class Twice(torch.optim.SGD):
    """Runs each batch twice by the same weights, and steps once."""

    def step(self, closure: Any = None) -> Any:
        closure()
        return super().step(closure)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"balancer": DynamicWeightAverage()},
        {"balancer": FAMO()},
        {"balancer": GradNorm()},
        {"balancer": MGDA("loss+")},
        {"balancer": GradVac(), "scope": "parameters"},
        {"balancer": GradVac(), "sketch": 16},
        {"balancer": GradVac(), "weight_heads": True},
    ],
    ids=lambda options: " ".join(map(str, options.values())) or "plain",
)
def test_a_batch_that_is_run_twice_counts_once(options: dict[str, Any]) -> None:
    states = []
    for kind in (torch.optim.SGD, Twice):
        torch.manual_seed(1)
        made = MultiTaskModule(tasks(), encoder(), optimizer=partial(kind, lr=0.05), **options)
        L.seed_everything(0, verbose=False)
        run = quiet(max_epochs=4, log_every_n_steps=2, limit_val_batches=0)
        run.fit(made, data())
        states.append({**made.state_dict(), **run.callback_metrics})
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
