"""What the recipe of sine waves reaches after as many steps as published ones."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

REACHED = {("MAML", 5): 0.88, ("Meta-SGD", 5): 0.72, ("MAML", 10): 0.55, ("Meta-SGD", 10): 0.42}
"""Mean squared error after one step, of 60,000 steps over tasks, measured with three seeds by another program."""
PUBLISHED = {"MAML": 1.13 + 0.18, "Meta-SGD": 0.90 + 0.16}
"""Li et al. 2017, table 1, with 5 points: the upper ends of the intervals."""


@pytest.mark.slow
def test_one_step_leads_as_far_as_it_should(tmp_path: Path) -> None:
    """It takes a quarter of an hour; compiled, as the annotations of this process cannot be."""
    options = ["--full=true", "--model.compile=true", "--methods=MAML,Meta-SGD", "--data.test_episodes=10000"]
    command = [sys.executable, "-m", "lightning_mtl.recipes.sinusoid", "--trainer.enable_progress_bar=false", *options]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    with (tmp_path / "runs/sinusoid/run_0/comparison.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["step"] == "1"]
    found = {(line["method"], int(line["setting"].split()[0])): float(line["mean"]) for line in lines}
    assert found == pytest.approx(REACHED, abs=0.05)
    for points in (5, 10):
        assert found["Meta-SGD", points] < 0.85 * found["MAML", points]
    assert all(found[method, 5] < most for method, most in PUBLISHED.items())
