"""A run resumed from a checkpoint of a step at which validation is due does that validation, as the unbroken run did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import Tensor

from lightning_mtl import MultiTaskDataModule, MultiTaskModule
from lightning_mtl.callbacks import TaskEarlyStopping

from .. import builders, models

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in ("Checkpoint directory", ".*configure_model", "ReduceLROnPlateau", "Found .* module")
]


class Noted(L.Callback):
    """Notes where validations were, and what they found."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.found.append(
            (trainer.current_epoch, trainer.global_step, float(trainer.callback_metrics["validate/score"]))
        )


class OnPlateau(MultiTaskModule):
    """Halves the rate after each validation that is no better."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=0.5, patience=0, threshold=0.5
        )
        found = {
            "scheduler": scheduler,
            "interval": "step",
            "frequency": 4,
            "monitor": "validate/score",
            "strict": False,
        }
        return {"optimizer": optimizer, "lr_scheduler": found}


def run(folder: Path, start: str | None, plateau: bool = False, averaged: bool = False, **options: Any) -> Any:
    torch.manual_seed(0)
    module = builders.module() if not plateau else OnPlateau(builders.tasks(), builders.encoder())
    noted = Noted()
    keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1, save_weights_only=False)
    best = ModelCheckpoint(folder, filename="best{step}", monitor="validate/score", mode="max", save_top_k=-1)
    callbacks = [
        TaskEarlyStopping(2, min_delta=0.03, stop_when=None),
        noted,
        keep,
        best,
        *[EMAWeightAveraging(decay=0.8)] * averaged,
    ]
    trainer = models.quiet(
        max_epochs=3, enable_checkpointing=True, callbacks=callbacks, num_sanity_val_steps=0, **options
    )
    data = MultiTaskDataModule({"s": builders.splits(40)}, batch_size=8, seed=0, summary=False)
    trainer.fit(module, data, ckpt_path=None if start is None else folder / start)
    return noted.found, torch.cat([p.detach().flatten() for p in module.parameters()])


def same(one: tuple[Any, Tensor], other: tuple[Any, Tensor], after: int) -> None:
    assert [each for each in one[0] if each[1] >= after] == other[0]
    assert torch.equal(one[1], other[1])


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"val_check_interval": 2}, (4, 7)),
        ({"val_check_interval": 1.0}, (5, 15)),
        ({"val_check_interval": 4, "check_val_every_n_epoch": None}, (8,)),
        ({"check_val_every_n_epoch": 2}, (10,)),
        ({"val_check_interval": 2, "accumulate_grad_batches": 2, "limit_train_batches": 4}, (3,)),
        ({"val_check_interval": 4, "check_val_every_n_epoch": None, "plateau": True}, (4,)),
        ({"val_check_interval": 2, "averaged": True}, (4,)),
    ],
    ids=str,
)
def test_a_validation_that_was_due_is_done(options: dict[str, Any], steps: tuple[int, ...], tmp_path: Path) -> None:
    whole = run(tmp_path, None, **options)
    assert whole[0]
    for step in steps:
        same(whole, run(tmp_path, f"step={step}.ckpt", **options), step)


def test_what_is_written_in_that_validation_can_be_resumed_too(tmp_path: Path) -> None:
    whole = run(tmp_path, None, val_check_interval=2)
    for path in tmp_path.glob("best*"):
        path.unlink()
    run(tmp_path, "step=4.ckpt", val_check_interval=2)
    same(whole, run(tmp_path, "beststep=4.ckpt", val_check_interval=2), 5)
