"""Every flag of the Trainer does what it does elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, StochasticWeightAveraging
from lightning.pytorch.loggers import CSVLogger
from torch.testing import assert_close

from lightning_mtl import MultiTaskDataModule, MultiTaskModule
from tests.builders import encoder, module, splits, tasks
from tests.conftest import TrainerMaker


def data(**options: Any) -> MultiTaskDataModule:
    return MultiTaskDataModule({"s": splits(64)}, **{"batch_size": 8, "summary": False, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"fast_dev_run": True},
        {"fast_dev_run": 3},
        {"overfit_batches": 2},
        {"limit_train_batches": 0.5, "limit_val_batches": 1},
        {"max_steps": 5},
        {"val_check_interval": 0.25},
        {"check_val_every_n_epoch": 2, "max_epochs": 2},
        {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 2},
        {"precision": "bf16-mixed"},
        {"precision": "bf16-true"},
        {"precision": "64-true"},
        {"accumulate_grad_batches": 3, "log_every_n_steps": 2},
        {"gradient_clip_val": 0.1},
        {"deterministic": True},
        {"detect_anomaly": True},
        {"inference_mode": False},
        {"num_sanity_val_steps": 0},
        {"num_sanity_val_steps": -1},
        {"profiler": "simple"},
        {"barebones": True},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:You requested to overfit", "ignore:You are running in `Trainer.barebones")
@pytest.mark.filterwarnings("ignore:.*overfit_batches.*", "ignore:You have turned on `Trainer.detect_anomaly")
def test_a_flag_trains_and_evaluates(options: dict[str, Any], trainer: TrainerMaker) -> None:
    bare = bool(options.get("barebones"))
    run = L.Trainer(max_epochs=1, accelerator="cpu", barebones=True) if bare else trainer(**options)
    made = module()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    run.fit(made, data())
    assert all(value.isfinite().all() for value in made.state_dict().values())
    assert all(not torch.equal(value.float(), before[name].float()) for name, value in made.state_dict().items())
    assert "train/loss" in run.callback_metrics


@pytest.mark.filterwarnings("ignore:You requested to overfit", "ignore:.*overfit_batches.*")
def test_overfitting_reads_the_same_batches_again(trainer: TrainerMaker) -> None:
    seen: list[torch.Tensor] = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch["s"]["x"])

    trainer(overfit_batches=2, max_epochs=3, callbacks=[Watch()]).fit(module(), data())
    assert_close(seen[0], seen[2])
    assert_close(seen[1], seen[5])


def test_accumulated_steps_equal_one_large_batch(trainer: TrainerMaker) -> None:
    small, large = module(), module()
    trainer(accumulate_grad_batches=2, precision="64-true").fit(small, data(batch_size=8))
    trainer(precision="64-true").fit(large, data(batch_size=16))
    # All rows are labelled and batches are of one size, so the mean of two halves is the mean of the whole.
    for name, value in large.state_dict().items():
        assert value.shape == small.state_dict()[name].shape
    one, two = data(batch_size=8), data(batch_size=16)
    one.setup("fit")
    two.setup("fit")
    halves, wholes = list(one.train_dataloader()), list(two.train_dataloader())
    assert_close(torch.cat([halves[0]["s"]["x"], halves[1]["s"]["x"]]), wholes[0]["s"]["x"])
    assert_close(small.state_dict(), large.state_dict(), rtol=1e-10, atol=1e-12)


def test_clipping_bounds_the_gradient(trainer: TrainerMaker) -> None:
    norms: list[float] = []

    class Watch(L.Callback):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            grads = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
            if grads:
                norms.append(torch.cat(grads).norm().item())

    trainer(gradient_clip_val=0.01, callbacks=[Watch()]).fit(module(), data())
    assert norms
    assert max(norms) <= 0.01 * (1 + 1e-4)


def test_bf16_gives_nearly_what_float32_gives(trainer: TrainerMaker) -> None:
    plain, mixed = module(), module()
    runs = trainer(), trainer(precision="bf16-mixed")
    for run, made in zip(runs, (plain, mixed), strict=True):
        run.fit(made, data())
    losses = [float(run.callback_metrics["validate/loss"]) for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_callbacks_can_watch_the_score_and_the_losses(trainer: TrainerMaker, tmp_path: Path) -> None:
    callbacks = [
        EarlyStopping("validate/score", mode="max", patience=1, min_delta=10.0),
        EarlyStopping("train/loss", patience=50),
        ModelCheckpoint(tmp_path / "kept", monitor="validate/size/r2", mode="max"),
        LearningRateMonitor(),
    ]
    run = trainer(
        callbacks=callbacks, enable_checkpointing=True, logger=CSVLogger(tmp_path), max_epochs=9, log_every_n_steps=2
    )
    run.fit(MultiTaskModule(tasks(), encoder()), data())
    assert run.current_epoch == 2  # the score never rises by ten
    assert list((tmp_path / "kept").glob("*.ckpt"))
    assert "lr-AdamW/heads" in run.callback_metrics


def test_weight_averaging_and_workers(trainer: TrainerMaker) -> None:
    run = trainer(max_epochs=3, callbacks=[StochasticWeightAveraging(0.01, swa_epoch_start=1)])
    run.fit(module(), data(num_workers=1))
    assert run.global_step == 24
