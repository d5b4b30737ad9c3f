"""A run that was interrupted and resumed ends as the unbroken one: the same examples in the same order, the same weights."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from lightning_mtl import MultiTaskDataModule
from lightning_mtl._loader import MultiTaskLoader
from lightning_mtl.samplers import LAG, Flow, MultiTaskSampler, Uniform

from .builders import module as plain_module
from .builders import splits
from .resume.rules import RULES
from .resume.run import EPOCHS, EVERY, ROWS, STEPS, WITHIN, Case, Ran, Watch, checkpoint, sources, train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:No batch of the first epoch had labels"),
]

Whole = Callable[..., tuple[Ran, Path]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Train a case unbroken, once for all tests, and tell where its checkpoints are."""
    kept: dict[str, tuple[Ran, Path]] = {}

    def make(case: Case, **options: Any) -> tuple[Ran, Path]:
        key = f"{case} {options}"
        if key not in kept:
            folder = tmp_path_factory.mktemp("whole")
            kept[key] = train(case, folder, seed=1, **options), folder
        return kept[key]

    return make


def going_on(case: Case, saved: Path, folder: Path, **options: Any) -> Ran:
    """Resume in a run of another seed: all that counts is in the checkpoint."""
    return train(case, folder, seed=9, resume=saved, **options)


# Within one process


@pytest.mark.parametrize("data", ["rows", "stream"])
@pytest.mark.parametrize(("kind", "rule"), RULES)
def test_a_run_saved_within_an_epoch_goes_on(kind: str, rule: str, data: str, whole: Whole, tmp_path: Path) -> None:
    case = Case(kind=kind, rule=rule, data=data)
    unbroken, folder = whole(case)
    assert going_on(case, checkpoint(folder, WITHIN), tmp_path).equals(unbroken, WITHIN)
    assert len(unbroken.steps) == EPOCHS * STEPS
    assert (len({tuple(step["rates"]) for step in unbroken.steps}) > 1) == (rule != "static" or kind == "phased")
