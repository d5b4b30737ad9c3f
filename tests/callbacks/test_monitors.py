"""All monitors together look, and never touch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_mtl.callbacks import ConflictMonitor, ForgettingMonitor, GapMonitor, TransferMonitor
from lightning_mtl.report import Report
from lightning_mtl.samplers import Rule
from tests.callbacks.test_forgetting_monitor import data, in_turn, module
from tests.models import quiet


@pytest.mark.parametrize("sampling", [None, in_turn()], ids=["side by side", "one after another"])
def test_a_run_with_all_of_them_ends_in_the_same_weights(sampling: Rule | None, tmp_path: Path) -> None:
    watching = [ForgettingMonitor(every=3), GapMonitor(), ConflictMonitor(every=2), TransferMonitor(every=3), Report()]
    ends = []
    for callbacks in ([], watching):
        made = module()
        L.seed_everything(1, verbose=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Task .* (is being forgotten|overfits)")
            quiet(tmp_path, max_epochs=3, callbacks=callbacks, log_every_n_steps=2).fit(made, data(sampling))
        ends.append((made.state_dict(), torch.get_rng_state()))
    (without, before), (seen, after) = ends
    assert torch.equal(before, after)
    for name, one in without.items():
        assert torch.equal(one, seen[name]), name
    kept = json.loads((tmp_path / "record.json").read_text())["monitors"]
    assert sorted(kept) == ["ConflictMonitor", "ForgettingMonitor", "GapMonitor", "TransferMonitor"]
    assert kept["TransferMonitor"]["probes"] > 3
    assert (tmp_path / "report.html").exists()


@pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path")
def test_a_checkpoint_that_is_evaluated_leaves_their_records_alone(tmp_path: Path) -> None:
    """Lightning hands callbacks the state of that checkpoint too, which is older."""
    watching: list[Any] = [
        ForgettingMonitor(every=3, keep_best=False),
        GapMonitor(),
        ConflictMonitor(every=2),
        Report(tmp_path),
    ]
    early = ModelCheckpoint(dirpath=tmp_path, filename="early", every_n_train_steps=2, save_top_k=1, monitor=None)
    made, of = module(), data()
    trainer = quiet(tmp_path, max_epochs=2, callbacks=[*watching, early], enable_checkpointing=True)
    trainer.fit(made, of)
    records = [monitor.record() for monitor in watching]
    trainer.validate(made, of, ckpt_path=early.best_model_path, weights_only=False, verbose=False)
    assert [monitor.record() for monitor in watching] == records
    again = ForgettingMonitor(every=3, keep_best=False)
    fresh = quiet(tmp_path, callbacks=[again])
    fresh.validate(module(), data(), ckpt_path=early.best_model_path, weights_only=False, verbose=False)
    fresh.fit(module(), data())
    assert again.steps == [3, 6]
