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
import lightning as L
import pytest
import torch

from lightning_mtl.balancers import Static, UPGrad
from tests import ROOT

FIGURES = {
    "balancing": {
        "loss_max",
        "representation_max_k8",
        "representation_max_k40",
        "exact_vs_torchjd_max_k8",
        "exact_vs_torchjd_mlp_k8",
        "exact_sources_k8",
        "exact_sources_memory",
        "solver_ms_max_k8",
        "solver_ms_max_k40",
        "ddp_bytes_ratio_representation",
        "ddp_bytes_ratio_sketch",
    },
    "growth": {"setup_tasks_growth", "reads_per_row", "table_setup_ratio", "step_ratio_k200", "sources_growth"},
    "hierarchical": {"early_exit_ratio", "mixed_levels_ratio", "mixed_vs_separate_ratio", "levels_overhead_ratio"},
    "meta": {
        *(cell + row for cell in ("sinusoid", "text", "conv") for row in ("", "_first_order", "_5_steps", "_loop")),
        "sinusoid_episodes_share",
        "conv_episodes_share",
        "conv_vmap",
    },
    "monitors": {"all_monitors_pct", "conflict_pct"},
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


@pytest.fixture(scope="module")
def balancing() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks/balancing.py"))


def small(balancing: dict[str, Any]) -> Any:
    return balancing["Trunk"](lambda: torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()), (3,), 4, 2, 1)


def trained(balancing: dict[str, Any], module: Any, *, sources: bool = False) -> list[torch.Tensor]:
    """Train on three batches; give the weights of the trunk and of the heads."""
    batches = balancing["Counted"](balancing["batches"](small(balancing), 3, sources=sources)[:3])
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **quiet)
    trainer.fit(module, batches)
    trunk = module.encoder.trunk if hasattr(module, "encoder") else module.trunk
    return [p.detach() for part in (trunk, module.heads) for p in part.parameters()]


@pytest.mark.parametrize("sources", [False, True])
def test_both_sides_balance_the_same_problem(balancing: dict[str, Any], sources: bool) -> None:
    """From the same weights and batches, weights of one in the trunk give what the hand-written loop gives."""
    trunk = small(balancing)
    by_hand = trained(balancing, balancing["HandWritten"](trunk, 3), sources=sources)
    for options in ({}, {"balancer": Static()}, {"balancer": ones, "scope": "parameters"}):
        by_us = trained(balancing, balancing["ours"](trunk, 3, **options), sources=sources)
        torch.testing.assert_close(by_us, by_hand, rtol=1e-5, atol=1e-7)


def ones(gramian: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(gramian))


def test_the_rival_engines_train_alike(balancing: dict[str, Any]) -> None:
    """TorchJD's engines and ours solve one problem: three steps of UPGrad end at nearly the same weights."""
    trunk = small(balancing)
    by_us = trained(balancing, balancing["ours"](trunk, 3, UPGrad(), scope="parameters"))
    for rival in ("Autojac", "Autogram"):
        theirs = trained(balancing, balancing[rival](trunk, 3))
        torch.testing.assert_close(by_us[:2], theirs[:2], rtol=1e-4, atol=1e-7)


def test_fits_take_turns(balancing: dict[str, Any]) -> None:
    """Each fit has made the steps that it was given, after one that warms, while the others stood still, and all of them end."""
    trunk, made = small(balancing), balancing["batches"](small(balancing), 2)
    with balancing["alive"]({name: lambda: balancing["HandWritten"](trunk, 2) for name in "ab"}, made, 1) as fits:
        assert fits["a"].turn(3) > 0
        assert [fit.module.trainer.global_step for fit in fits.values()] == [6, 2]
        assert fits["b"].turn(1) > 0
        assert [fit.module.trainer.global_step for fit in fits.values()] == [6, 4]
    assert not any(fit.thread.is_alive() for fit in fits.values())


def test_an_error_in_a_fit_is_told(balancing: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        balancing["Fit"](balancing["HandWritten"](small(balancing), 2), [{"s": {}}]).turn(1)


@pytest.fixture(scope="module")
def growth() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks/growth.py"))


def test_no_row_is_read_twice_before_training(growth: dict[str, Any]) -> None:
    assert growth["reads_per_row"](rows=300, targets=3) == 1


def test_first_steps_are_timed(growth: dict[str, Any], tmp_path: Path) -> None:
    assert growth["of_tasks"](3, rows=64) > 0
    assert growth["of_sources"](2) > 0
    assert 0 < growth["table_setup_ratio"](tmp_path, 0, rows=200, features=2) < 1e6
    assert 0 < growth["step_ratio"](tasks=2, rows=8, width=4, steps=8) < 1e3
    assert {*growth["BARS"]} == FIGURES["growth"]


@pytest.fixture(scope="module")
def meta() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks/meta.py"))


@pytest.mark.parametrize("row", ["", "_first_order", "_5_steps"])
def test_all_sides_find_one_meta_gradient(meta: dict[str, Any], row: str) -> None:
    assert meta["agree"]("sinusoid", meta["ROWS_OF_TABLE"][row], ["loop", "vmap"]) < 1e-8


def test_sides_of_another_order_do_not(meta: dict[str, Any]) -> None:
    """Nor are they equal because they are zero."""
    second, first = (meta["Problem"](meta["CELLS"]["sinusoid"], meta["Row"](1, order)) for order in (False, True))
    by_hand, by_us = meta["ByHand"](second), meta["Ours"](first)
    for side in (by_hand, by_us):
        side()
    pairs = zip(by_hand.parameters, by_us.parameters, strict=True)
    assert max(float((one.grad - other.grad).abs().max()) for one, other in pairs) > 0.01


@pytest.mark.slow
def test_bytes_are_those_of_the_gradients(balancing: dict[str, Any], tmp_path: Path) -> None:
    """Two processes that add up losses send each gradient once; at the representation, a Gramian and a few figures more."""
    sent = figures_of("balancing", ["--only", "ddp"], tmp_path)
    both = balancing["HandWritten"](balancing["TRUNKS"]["mlp"], 8).parameters()
    assert sent["ddp_bytes_hand"] == 4 * sum(p.numel() for p in both)
    assert 1 <= sent["ddp_bytes_ratio_representation"] < 1.01
    assert sent["ddp_bytes_ratio_exact"] > 7


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_benchmark_writes_its_figures(name: str, tmp_path: Path) -> None:
    quick = ["--rounds", "1", *(["--texts", "64"] if name == "text" else [])]
    figures = figures_of(name, quick, tmp_path)
    assert figures.pop("reference", "explicit loop") in ("explicit loop", "learn2learn")
    assert FIGURES[name] <= set(figures)
    assert all(isinstance(value, float) and math.isfinite(value) for value in figures.values())


def figures_of(name: str, options: list[str], folder: Path) -> dict[str, Any]:
    """Run a benchmark, and read what it wrote."""
    command = [sys.executable, str(ROOT / f"benchmarks/{name}.py"), *options, "--json", str(folder / "figures.json")]
    subprocess.run(command, check=True, timeout=600, capture_output=True)
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return figures
