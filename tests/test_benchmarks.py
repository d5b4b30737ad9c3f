"""Benchmarks: they run, both sides do the same, and what they write can be read."""

from __future__ import annotations

import json
import math
import runpy
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

ROOT = Path(__file__).parent.parent
FIGURES = {
    "overhead": {"step_ratio_1m", "step_extra_us_tiny", "log20_us_per_step"},
    "text": {
        "tokens_ratio",
        "padding_share",
        "padding_share_unsorted",
        "predict_ratio",
        "heads20_ratio",
        "heads20_single_ratio",
        "heads20_predict_ratio",
    },
    "loading": {
        "first_batch_ratio_50x2",
        "worker_memory_ratio_50x2",
        "per_batch_ratio_50x2",
        "sampler_us_homogeneous",
        "per_step_ratio_50_to_2",
        "per_step_ratio_50_to_2_w0",
        "construct_10m_seconds",
        "construct_10m_mb",
    },
}


@pytest.fixture(scope="module")
def text() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks/text.py"))


@pytest.fixture(scope="module")
def rows() -> datasets.Dataset:
    texts = ["a word " * (1 + 7 * i % 11) for i in range(24)]
    domains = [["editorials", "films", "products", "tweets"][i % 4] for i in range(24)]
    return datasets.Dataset.from_dict({"text": texts, "domain": domains})


def test_both_sides_train_alike(text: dict[str, Any], rows: datasets.Dataset) -> None:
    """From one start, without dropout, both end with the same weights: the same batches, loss and optimizer."""
    module, rival = text["model"](), text["Rival"]()
    for part in (*module.modules(), *rival.model.modules()):
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    rival.model.encoder.load_state_dict(module.encoder.trunk.model.state_dict())
    rival.model.head.load_state_dict(module.heads["t0"].layers.state_dict())
    text["fit"](module, text["data"](rows, size=8), rival, max_epochs=1)
    assert len(rival.pairs) == 2
    ours = torch.cat([p.detach().flatten() for p in module.encoder.trunk.model.parameters()])
    by_hand = torch.cat([p.detach().flatten() for p in rival.model.encoder.parameters()])
    # AdamW turns a gradient of rounding errors into a step of full size: nearly all, not all, are equal.
    assert ((ours - by_hand).abs() < 1e-6).float().mean() > 0.99
    torch.testing.assert_close(module.heads["t0"].layers.weight, rival.model.head.weight, atol=1e-5, rtol=1e-3)


def test_padding_share(text: dict[str, Any]) -> None:
    """Batches of 32 texts in two lengths: by length nothing is padded, by chance something is."""
    texts = ["one", "one two three four"] * 32
    rows = datasets.Dataset.from_dict({"text": texts})
    assert text["padding_share"](rows, bucket=True) == 0
    assert 0.2 < text["padding_share"](rows, bucket=False) < 0.4


def test_in_turn_runs_both_in_each_round(text: dict[str, Any]) -> None:
    ran: list[str] = []
    pairs = text["in_turn"](lambda: ran.append("a"), lambda: ran.append("b"), 3)
    assert "".join(ran) == "ab" + "ab" + "ba" + "ab"
    assert len(pairs) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_both_sides_load_the_same_rows(workers: int) -> None:
    """Each batch holds rows of its source, 8 of them, that come once in a pass; a step of theirs has one of every source."""
    loading = runpy.run_path(str(ROOT / "benchmarks/loading.py"))
    tables = {name: {*map(tuple, loader.dataset.x.tolist())} for name, loader in loading["loaders"](3, 0).items()}
    theirs = [step for step, _, _ in islice(loading["theirs"](3, workers), 4)]
    ours = [*islice(loading["ours"](3, workers), 12)]
    assert [[*step] for step in theirs] == [[*tables]] * 4
    assert all(len(step) == 1 for step in ours)
    for side in (theirs, ours):
        for name, table in tables.items():
            rows = [tuple(row) for step in side if name in step for row in step[name]["x"].tolist()]
            assert len(rows) == 8 * sum(name in step for step in side)
            assert len({*rows}) == len(rows)
            assert {*rows} <= table


def test_seconds_of_another_process_are_counted() -> None:
    loading = runpy.run_path(str(ROOT / "benchmarks/loading.py"))
    work = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        assert 0.19 < loading["cpu_seconds"]([busy.pid]) - loading["cpu_seconds"]([]) < 1
        assert loading["pss"](busy.pid) > 1e6
        busy.communicate(b"\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_benchmark_writes_its_figures(name: str, tmp_path: Path) -> None:
    quick = ["--rounds", "1", *(["--texts", "64"] if name == "text" else [])]
    command = [sys.executable, str(ROOT / f"benchmarks/{name}.py"), *quick, "--json", str(tmp_path / "figures.json")]
    subprocess.run(command, check=True, timeout=600, capture_output=True)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert FIGURES[name] <= set(figures)
    assert all(isinstance(value, float) and math.isfinite(value) for value in figures.values())
