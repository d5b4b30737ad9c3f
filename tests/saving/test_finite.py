"""Weights that are not finite are never written, and what was written before stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_mtl import HardSharing, MultiTaskDataModule, MultiTaskModule
from lightning_mtl.saving import refuse_spoiled, unusual_tensors
from lightning_mtl.saving._finite import not_finite

from .. import builders, models
from ..cases import over

WRONG = "Weights and the state of optimizers at step 7 must be finite, got NaN or infinity in "


@over("seed", range(20))
def test_it_finds_what_is_not_finite(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    kinds = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64, torch.int64, torch.bool]
    tensors = {}
    for number in range(12):
        shape = torch.randint(0, 4, (int(torch.randint(0, 4, (1,), generator=draw)),), generator=draw).tolist()
        dtype = kinds[int(torch.randint(len(kinds), (1,), generator=draw))]
        made = (1e4 * torch.randn(shape, generator=draw)).to(dtype)
        if made.numel() and torch.rand(1, generator=draw) < 0.3 and (made.is_floating_point() or made.is_complex()):
            made.view(-1)[-1] = [torch.nan, torch.inf, -torch.inf][number % 3]
        tensors[f"t{number}"] = made
    assert not_finite(tensors) == [name for name, of in tensors.items() if not of.isfinite().all()]


def _spoiled(like: Tensor) -> Tensor:
    made = like.clone()
    made.view(-1)[0] = torch.nan
    return made


@pytest.fixture(scope="module")
def run() -> tuple[MultiTaskModule, dict[str, Any]]:
    module, trainer = builders.module(), models.quiet(max_steps=7)
    module._optimizer = lambda groups: torch.optim.AdamW(groups)
    trainer.fit(module, MultiTaskDataModule({"s": builders.rows()}, batch_size=6, summary=False))
    return module, trainer._checkpoint_connector.dump_checkpoint(weights_only=False)


NAME = "encoder.trunk.0.weight"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: {"state_dict": {**c["state_dict"], NAME: _spoiled(c["state_dict"][NAME])}}, NAME),
        (lambda c: {"current_model_state": {NAME: _spoiled(c["state_dict"][NAME])}}, f"{NAME} of the current model"),
        (
            lambda c: {"callbacks": {"SWA": {"average_model_state": {NAME: _spoiled(c["state_dict"][NAME])}}}},
            f"{NAME} of the averaged model",
        ),
        (
            lambda c: {"optimizer_states": [{"state": {3: {"exp_avg_sq": _spoiled(torch.ones(4))}}}]},
            "exp_avg_sq of parameter 3 in optimizer 0",
        ),
    ],
    ids=["weights", "beside an average", "an average", "the optimizer's"],
)
def test_whatever_is_spoiled_is_refused(run: Any, change: Any, named: str) -> None:
    module, checkpoint = run
    refuse_spoiled(module, checkpoint)
    with pytest.raises(ValueError, match=WRONG + named):
        refuse_spoiled(module, {**checkpoint, **change(checkpoint)})


class Masked(nn.Module):
    """Adds a mask, and counts in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)
        self.register_buffer("mask", torch.tensor([0.0] * 7 + [-torch.inf]))
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = (self.layer(x) + self.mask).sigmoid()
        return made


def test_a_mask_may_hold_infinities_and_an_average_may_not_become_nan(tmp_path: Path) -> None:
    module = builders.module()
    module.encoder = HardSharing(Masked(), width=8, inputs=["x"])
    module.unusual = unusual_tensors(module)
    assert module.unusual == {"encoder.trunk.mask"}
    module.save_pretrained(tmp_path / "good")
    module.encoder.get_buffer("trunk.mean")[2] = torch.nan
    with pytest.raises(ValueError, match=r"got NaN or infinity in encoder\.trunk\.mean\. Nothing was written"):
        module.save_pretrained(tmp_path / "bad")
    assert not (tmp_path / "bad" / "model.safetensors").exists()


def test_the_last_good_checkpoint_stays(tmp_path: Path) -> None:
    steps: list[int] = []

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        steps.append(len(steps))
        far = (prediction - target).square().mean()
        # The square root has no slope at 0; its value is finite.
        return far + (prediction - prediction.detach()).square().sum().sqrt() if len(steps) == 7 else far

    module = builders.module(builders.tasks(["size"], loss=loss))
    last = ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=1, enable_version_counter=False)
    trainer = models.quiet(max_epochs=2, enable_checkpointing=True, callbacks=[last])
    with pytest.raises(ValueError, match=f"{WRONG}encoder"):
        trainer.fit(module, MultiTaskDataModule({"s": builders.rows()}, batch_size=6, summary=False))
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 6
    assert not not_finite(kept["state_dict"])
    with pytest.raises(ValueError, match=WRONG):
        trainer.save_checkpoint(tmp_path / "own.ckpt")
    assert not (tmp_path / "own.ckpt").exists()
