"""A task may have any name: what has a meaning in a key is escaped there, and nowhere else."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_mtl import (
    HierarchicalModule,
    Levels,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Source,
    Task,
)
from lightning_mtl._plain import escaped, file_name, unescaped
from lightning_mtl.callbacks import ForgettingMonitor, TaskEarlyStopping
from lightning_mtl.heads import ByName, module_key
from lightning_mtl.optim import FineTuning
from tests.builders import encoder
from tests.cases import over

NAMES = [
    "km/h",
    "Petal.Width",
    "type",
    "training",
    "_modules",
    "in $ {}",
    "a%2Fb",
    "100%",
    "größe",
    "..",
    " ",
    "weight\n2",
    "heads/no_decay",
    "x" * 300,
]


def names(seed: int) -> list[str]:
    """Names of few characters, most of them special, so that escapes meet each other."""
    draw = random.Random(seed)
    return ["".join(draw.choices("/.%2F5eE" + string.punctuation, k=draw.randint(1, 9))) for _ in range(200)]


@over("seed", range(5))
def test_any_name_is_read_back_from_its_key(seed: int) -> None:
    for name in [*NAMES, *names(seed)]:
        assert unescaped(escaped(name)) == name
        assert unescaped(module_key(name)) == name
        assert "/" not in escaped(name)
        assert "." not in module_key(name)


@over("seed", range(5))
def test_two_names_have_two_keys_and_files(seed: int) -> None:
    given = {*NAMES, *names(seed)}
    for key in (escaped, module_key, file_name):
        assert len({key(name) for name in given}) == len(given)
    assert all(len(file_name(name).encode()) < 230 for name in given)


@pytest.mark.parametrize("name", ["topic", "part of speech", "growth%", "naïve", "a-b_c"])
def test_a_name_that_needs_no_escape_is_its_own_key(name: str) -> None:
    assert escaped(name) == module_key(name) == file_name(name) == name


def test_modules_are_found_by_name() -> None:
    held = ByName({name: nn.Linear(1, 1) for name in NAMES})
    assert list(held) == list(held.keys()) == [name for name, _ in held.items()] == NAMES
    assert all(held[name] is module for name, module in held.items())
    assert "type" in held
    assert "items" not in held
    again = ByName({name: nn.Linear(1, 1) for name in NAMES})
    again.load_state_dict(held.state_dict())
    del held["km/h"]
    assert "km/h" not in held
    assert held.pop("type") is not None
    assert len(held) == len(NAMES) - 2


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match="`name` of a task must not be empty"):
        Task("")


def rows(count: int, of: list[str]) -> list[dict[str, Any]]:
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(count))
    return [{"x": one.tolist(), **{name: float(one[i % 4]) for i, name in enumerate(of)}} for one in x]


OF = ["km/h", "Petal.Width", "type"]


def told(tmp_path: Path, module: L.LightningModule, **options: Any) -> L.Trainer:
    data = MultiTaskDataModule(
        {"a.b/c": Source({"train": rows(40, OF), "validation": rows(20, OF)}, features=None)}, summary=False
    )
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        log_every_n_steps=1,
        **quiet,
        **options,
    )
    trainer.fit(module, data)
    return trainer


def test_a_run_logs_keeps_and_predicts_by_the_names(tmp_path: Path) -> None:
    kept = ModelCheckpoint(dirpath=tmp_path / "kept", save_last=True)
    monitor, stopping = ForgettingMonitor(), TaskEarlyStopping(1)
    tasks = [Task(name, head=Regression(scaled=True), loss=nn.MSELoss()) for name in OF]
    tuned = FineTuning(lr=0.01, rates={"km/h": 0.1}, warmup=0.0)
    trainer = told(tmp_path, MultiTaskModule(tasks, encoder(), optimizer=tuned), callbacks=[kept, monitor, stopping])
    assert "validate/km%2Fh/r2" in trainer.callback_metrics
    assert "validate/Petal.Width/r2" in trainer.callback_metrics
    assert [group["name"] for group in trainer.optimizers[0].param_groups if "%" in group["name"]] == [
        "heads/km%2Fh",
        "heads/km%2Fh/no_decay",
    ]
    assert monitor.record()["tasks"] == list(stopping.record()["tasks"]) == OF
    assert {Path(path).name for path in monitor.record()["best"]["paths"]} == {
        "km%2Fh.ckpt",
        "Petal.Width.ckpt",
        "type.ckpt",
    }
    again = MultiTaskModule.load_from_checkpoint(kept.last_model_path)
    assert [task.name for task in again.tasks] == OF
    answers = again.predict([{"x": [0.0] * 4}], ["km/h", "type"])
    assert set(answers[0]) == {"km/h", "type"}
    assert set(again.export()({"x": torch.zeros(2, 4)})) == set(OF)


def test_levels_feed_by_the_names(tmp_path: Path) -> None:
    low = Task(OF[0], head=Multiclass(2), level=1, target=OF[0], metrics=[])
    tasks = [low, Task(OF[1], head=Regression(), level=[1, 2]), Task(OF[2], head=Regression(), feeds_from=[OF[0]])]
    module = HierarchicalModule(tasks, Levels(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8)), inputs="x"))
    assert set(module.mix("Petal.Width")) == {1, 2}
    answers = module({"s": {"x": torch.zeros(3, 4)}}, ["type"])
    assert set(answers) == {"type"}
    assert "hierarchy.embeddings.km%2Fh" in " ".join(module.state_dict())
