"""Training against validation losses: what is compared, when a task counts as overfitting, and that looking changes nothing."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_mtl import HardSharing, Multiclass, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.callbacks import GapMonitor
from lightning_mtl.callbacks._gap_monitor import _Trace
from lightning_mtl.metrics import DropAlarm
from tests.builders import module, splits
from tests.cases import over
from tests.conftest import TrainerMaker


def network(seed: int = 0) -> MultiTaskModule:
    """A network with dropout, large enough to learn a few rows by heart."""
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Dropout(0.05), nn.Linear(64, 64), nn.Tanh())
    which = [Task("sign", head=Multiclass(2)), Task("size", head=Regression())]
    return MultiTaskModule(
        which, HardSharing(trunk, width=64, inputs=["x"]), optimizer=lambda of: torch.optim.AdamW(of, lr=0.01)
    )


def noisy(labelled: int = 8) -> MultiTaskDataModule:
    """Rows of which few have a `size`, without meaning."""
    data = splits(240)
    draw = torch.Generator().manual_seed(0)
    for split in data.values():
        for i, row in enumerate(split):
            known = i < labelled or split is not data["train"]
            row["size"] = float(torch.randn((), generator=draw)) if known else None
    return MultiTaskDataModule({"s": data}, batch_size=60, seed=0, summary=False)


def fed() -> MultiTaskDataModule:
    return MultiTaskDataModule({"s": splits(40)}, batch_size=8, seed=0, summary=False)


# Theorems: who overfits


def trace(train: Sequence[float | None], validate: list[float]) -> list[int]:
    """Number the validations that raise an alarm."""
    made = _Trace(DropAlarm())
    return [i for i, losses in enumerate(zip(train, validate, strict=True)) if made.update(*losses)]


def wavering(level: list[float], seed: int, noise: float = 0.02) -> list[float]:
    draw = random.Random(seed)
    return [value + draw.gauss(0, noise) for value in level]


FALLS = [1 - 0.03 * i for i in range(30)]
RISES = [1.0] * 18 + [1.5] * 12


@over("seed", range(10))
def test_a_rise_is_an_alarm_where_the_training_loss_falls(seed: int) -> None:
    validate = wavering(RISES, seed)
    found = trace(FALLS, validate)
    assert found
    assert found[0] in (18, 19)
    assert trace([-loss for loss in FALLS], validate) == []  # training gets worse too: no overfitting


@over("seed", range(10))
def test_a_loss_that_falls_or_stays_is_none(seed: int) -> None:
    assert trace(FALLS, wavering(FALLS, seed)) == []
    assert trace(FALLS, [0.7] * 30) == []


@over("seed", range(5))
def test_a_rise_counts_as_soon_as_the_training_loss_falls_unless_it_has_come_back(seed: int) -> None:
    validate = wavering(RISES, seed)
    late: Sequence[float | None] = [1.0] * 18 + [2.0] * 4 + [0.5] * 8
    assert trace(late, validate) == [22]
    back = wavering([1.0] * 18 + [1.5] * 4 + [1.0] * 8, seed)
    assert trace(late, back) == []
    unknown: list[float | None] = [None if i % 2 else value for i, value in enumerate(FALLS)]
    assert trace(unknown, validate)[0] in (18, 20)


def test_the_loss_at_the_best_is_the_first_that_is_shown_after_it() -> None:
    validate = [0.9, *RISES[1:]]
    assert trace([None, *FALLS[1:]], validate) != []
    assert trace([None] * 30, validate) == []


# What is compared


def test_losses_are_those_that_were_shown_since_the_last_validation(trainer: TrainerMaker) -> None:
    monitor, made = GapMonitor(), network()
    told: list[dict[str, float]] = []
    at: list[tuple[int, dict[str, float]]] = []

    class Note(L.Callback):
        def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                at.append((len(told), {name: float(value) for name, value in trainer.callback_metrics.items()}))

    made.train_log.listeners.append(lambda step, values: told.append(values))
    run = trainer(max_epochs=4, callbacks=[monitor, Note()], log_every_n_steps=2)
    run.fit(made, fed())
    record = monitor.record()
    assert record["tasks"] == ["sign", "size"]
    assert record["steps"] == [5, 10, 15, 20]
    before = 0
    for row, (seen, figures) in enumerate(at):
        for i, task in enumerate(record["tasks"]):
            shown = [values[f"train/{task}/loss"] for values in told[before:seen]]
            assert record["train"][row][i] == pytest.approx(sum(shown) / len(shown))
            assert record["validate"][row][i] == figures[f"validate/{task}/loss"]
        before = seen
    # The losses of step 20 were shown before the validation after it.
    last = {task: record["validate"][-2][i] - record["train"][-2][i] for i, task in enumerate(record["tasks"])}
    assert last == {task: pytest.approx(float(run.callback_metrics[f"train/{task}/gap"])) for task in last}
    assert json.loads(json.dumps(record)) == record
    assert (len(made.train_log.listeners), made.train_log.extra_values) == (1, [])


def test_tasks_that_are_not_evaluated_are_not_watched(trainer: TrainerMaker) -> None:
    monitor = GapMonitor()
    which = [Task("sign", head=Multiclass(2)), Task("size", head=Regression(), auxiliary=True)]
    trainer(max_epochs=2, callbacks=[monitor]).fit(module(which), fed())
    record = monitor.record()
    assert record["tasks"] == ["sign"]
    assert record["train"][0] == [None]  # nothing was shown yet: an epoch has fewer steps than `log_every_n_steps`
    assert record["train"][1][0] > 0


# Runs


def test_looking_changes_nothing(trainer: TrainerMaker) -> None:
    ended = []
    both: tuple[list[L.Callback], ...] = ([], [GapMonitor()])
    for callbacks in both:
        made = network()
        trainer(max_epochs=4, callbacks=callbacks, log_every_n_steps=2).fit(made, fed())
        ended.append((made.state_dict(), torch.get_rng_state()))
    (plain, state), (watched, other) = ended
    assert all(torch.equal(value, watched[name]) for name, value in plain.items())
    assert torch.equal(state, other)


def test_who_overfits_is_named_once(trainer: TrainerMaker) -> None:
    monitor = GapMonitor()
    says = r"Task 'size' overfits at step \d+: .* Task\(dropout=, weight_decay=, label_smoothing=\), or .* TaskEarlyStopping"
    with pytest.warns(UserWarning, match=says) as caught:
        trainer(max_epochs=60, callbacks=[monitor], log_every_n_steps=4).fit(network(), noisy())
    assert sum("overfits" in str(warning.message) for warning in caught) == 1
    (alarm,) = monitor.record()["alarms"]
    assert alarm["task"] == "size"
    assert alarm["rise"] > alarm["tolerance"] > 0
    row = monitor.record()["steps"].index(alarm["step"])
    assert alarm["gap"] == monitor.record()["validate"][row][1] - monitor.record()["train"][row][1]


def test_who_learns_is_not_named(trainer: TrainerMaker) -> None:
    monitor = GapMonitor()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*overfits")
        trainer(max_epochs=20, callbacks=[monitor], log_every_n_steps=5).fit(module(lr=0.02), fed())
    assert monitor.record()["alarms"] == []


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.filterwarnings("ignore:Task 'size' overfits")
def test_a_resumed_run_ends_with_the_same_record(trainer: TrainerMaker, tmp_path: Path) -> None:
    def run(folder: str, resume: Path | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
        monitor = GapMonitor()
        keep = ModelCheckpoint(tmp_path / folder, filename="{step}", every_n_epochs=1, save_top_k=-1)
        made = network()
        going = trainer(max_epochs=40, callbacks=[monitor, keep], enable_checkpointing=True, log_every_n_steps=2)
        going.fit(made, noisy(), ckpt_path=resume)
        return monitor.record(), made.state_dict()

    record, weights = run("whole")
    assert record["alarms"]
    for step in (32, record["alarms"][0]["step"]):
        again, same = run(f"{step}", tmp_path / f"whole/step={step}.ckpt")
        assert again == record
        assert all(torch.equal(value, same[name]) for name, value in weights.items())


def test_a_new_run_begins_anew(trainer: TrainerMaker) -> None:
    monitor = GapMonitor()
    for epochs in (3, 1):
        trainer(max_epochs=epochs, callbacks=[monitor]).fit(network(), fed())
        assert len(monitor.record()["steps"]) == epochs


def test_what_cannot_be_watched_is_refused(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match="`tolerance` must be finite and at least 0, got -1"):
        GapMonitor(-1.0)
    data = splits()
    del data["validation"]
    with pytest.raises(ValueError, match="GapMonitor must see validation losses"):
        trainer(callbacks=[GapMonitor()]).fit(module(), MultiTaskDataModule({"s": data}, batch_size=8, summary=False))

    class Other(L.LightningModule):
        pass

    with pytest.raises(ValueError, match=r"GapMonitor must have a module of lightning_mtl.* got Other"):
        GapMonitor().on_train_start(trainer(), Other())
