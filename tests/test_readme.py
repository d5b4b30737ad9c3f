"""The README's code runs, and prints what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_mtl.recipes import sentiment_topic
from tests import ROOT

README = (ROOT / "README.md").read_text()


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d+", text)]


def test_the_examples_print_what_the_readme_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
    code = "\n".join(block for kind, block in blocks if kind == "python")
    told = [blocks[i + 1][1] for i, (kind, _) in enumerate(blocks) if kind == "python"]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "COLUMNS": "80"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = numbers(done.stdout)
    for text in told:
        # The same figures on other processors and threads, to what their rounding leaves.
        expected = numbers(text)
        start = found.index(expected[0]) if expected[0] in found else 0
        assert found[start : start + len(expected)] == pytest.approx(expected, abs=0.05, rel=0.05)


def test_every_option_of_the_readme_is_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe"])
    lines = [
        line.split("#")[0].split() for line in README.splitlines() if "lightning_mtl.recipes.sentiment_topic --" in line
    ]
    options = {part.split("=")[0] for line in lines for part in line if part.startswith("--")} - {"--config"}
    with pytest.raises(SystemExit):
        sentiment_topic.main(["--help"])
    said = capsys.readouterr().out
    # Of classes that are chosen by an option.
    within = {"--trainer.logger.offline", "--data.sampling.temperature", "--model.balancer.c"}
    assert options - within <= set(re.findall(r"--[\w.]+", said))
