"""Sweeps: one file for Optuna and Weights & Biases, and both run."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from lightning_mtl import sweep
from lightning_mtl.recipes import table
from tests import ROOT

FILE = ROOT / "recipes/sweep.yaml"
QUICK = ["--trainer.max_epochs=2", "--trainer.limit_train_batches=4"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweep"])


def test_optuna_runs_the_file_and_prints_the_best_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = sweep.main([str(FILE), "--trials=2", *QUICK])
    assert [set(trial.params) for trial in study.trials] == [set(yaml.safe_load(FILE.read_text())["parameters"])] * 2
    assert study.best_value == max(trial.value for trial in study.trials)
    said = capsys.readouterr().out
    assert f"has validate/score {study.best_value:.4f}" in said
    assert f"--model.width={study.best_params['model.width']}" in said
    config = yaml.safe_load((tmp_path / "runs/table/run_1/config.yaml").read_text())
    assert config["model"]["rates"] == {"diagnosis": study.trials[1].params["model.rates.diagnosis"]}


def test_a_trial_is_told_the_score_that_is_logged_last(tmp_path: Path) -> None:
    """Thus Weights & Biases, which takes the last one, and Optuna maximise the same number: that of the best weights."""
    found = table.main(["--compare=false", "--seeds=1", "--trainer.enable_progress_bar=false", *QUICK])
    (log,) = tmp_path.rglob("metrics.csv")
    with log.open() as file:
        scores = [float(row["validate/score"]) for row in csv.DictReader(file) if row.get("validate/score")]
    assert scores[-1] == pytest.approx(found, abs=1e-6)
    assert scores[-1] == pytest.approx(max(scores), abs=1e-6)


def test_the_command_that_an_agent_of_wandb_starts_runs(tmp_path: Path) -> None:
    """The agent's own code makes the command; only the choice of the values, for which it asks the server, is ours."""
    space = yaml.safe_load(FILE.read_text())
    chosen = {
        name: {"value": of["values"][0] if "values" in of else of["max"]} for name, of in space["parameters"].items()
    }
    made = create_sweep_command_args({"args": chosen})
    words = {"${env}": ["/usr/bin/env"], "${interpreter}": [sys.executable], "${args}": made["args"]}
    command = [part for word in create_sweep_command(space["command"]) for part in words.get(word, [word])]
    known = {
        name: of for name, of in os.environ.items() if not name.startswith("WANDB_")
    }  # a run of this process may leave some
    env = {**known, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}
    done = subprocess.run([*command, *QUICK], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "validate/score" in done.stdout
    assert len(list(tmp_path.rglob("offline-run-*/*.wandb"))) == 1


@pytest.mark.parametrize(
    ("of", "value"),
    [
        ({"value": 3}, 3),
        ({"values": [1, 2]}, 2),
        ({"min": 1, "max": 4}, 2),
        ({"min": 0.5, "max": 4}, 2.0),
        ({"min": 1, "max": 4, "distribution": "log_uniform_values"}, 2.0),
    ],
)
def test_parameters_have_the_forms_of_wandb(of: dict[str, Any], value: float) -> None:
    import optuna

    found = sweep.suggest(optuna.trial.FixedTrial({"x": value}), "x", of)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parameters": {"x": {"distribution": "normal", "mu": 0}}}, "Parameter 'x' must have `value`, `values`, or"),
        ({"parameters": {}}, "A sweep must have `parameters` and a `command`"),
        ({"command": ["python", "train.py"]}, "A sweep must have `parameters` and a `command`"),
        ({"metric": {"name": "validate/loss", "goal": "minimize"}}, "`metric` must be validate/score, to maximize"),
    ],
)
def test_a_file_that_is_no_such_sweep_says_what_is_wrong(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(FILE.read_text()), **change}))
    with pytest.raises(ValueError, match=says):
        sweep.search(path, trials=1)


def test_a_sweep_needs_a_trial() -> None:
    with pytest.raises(ValueError, match="`trials` must be a whole number of at least 1, got 0"):
        sweep.search(FILE, trials=0)
