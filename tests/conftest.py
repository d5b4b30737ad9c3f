"""What all tests share: shapes that are checked, quiet Trainers, and one thread, so that tests run side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import lightning as L
import pytest
import torch
from jaxtyping import install_import_hook

from tests import ROOT

SHAPED = [path for path in (ROOT / "lightning_mtl").rglob("*.py") if "from jaxtyping import" in path.read_text()]
"""The files in which annotations give shapes; mypy checks all other annotations, and a check in each call is slow."""
install_import_hook([".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SHAPED], "beartype.beartype")

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
