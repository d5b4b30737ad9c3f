"""What all tests share: quiet Trainers, and one thread, so that tests run side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import lightning as L
import pytest
import torch

os.environ["OMP_NUM_THREADS"] = "1"  # of the programs that tests start: side by side, more threads wait for each other

TrainerMaker = Callable[..., L.Trainer]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    os.environ.pop("PL_GLOBAL_SEED", None)  # what a fixture of a whole file has left
    monkeypatch.setenv("PL_GLOBAL_SEED", "")  # so that what a test sets is taken back
    monkeypatch.delenv("PL_GLOBAL_SEED")
    datasets.disable_progress_bars()


@pytest.fixture
def trainer(tmp_path: Path) -> TrainerMaker:
    """Make a Trainer that writes into the test's own folder."""

    def make(**options: Any) -> L.Trainer:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        base = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "default_root_dir": tmp_path, **quiet}
        return L.Trainer(**{**base, **options})

    return make
