"""Two objectives that conflict: balancers end where their papers and independent code say."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchjd.aggregation as jd
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl.balancers import AlignedMTL, Balancer, ConFIG, FairGrad, FromGramian
from tests import ROOT

pytestmark = pytest.mark.slow
STEPS = 35_000
Pairs = list[list[float]]
# Objectives after 35 000 steps from each start, by independent code in NumPy: float64, gradients by hand.
ENDS: dict[str, Pairs] = {
    "sum": [[-0.3749, -19.7115], [-0.3798, -19.8275], [0.7330, 0.7944], [-0.3798, -19.8275], [-0.3798, -19.8275]],
    "MGDA": [[-1.1932, -17.4688], [-1.9908, -2.8455], [-1.9989, -0.4556], [-0.7317, -19.2390], [-1.9989, -0.4110]],
    "IMTLG": [[-1.1259, -17.8240], [-1.5092, -15.0916], [-1.7905, -11.0940], [-0.9195, -18.6882], [-1.9701, -4.8674]],
    "NashMTL": [[-1.0125, -18.3370], [-1.5092, -15.0916], [-1.8342, -10.1131], [-0.9392, -18.6188], [-1.9553, -5.8081]],
    "FAMO": [[-1.4509, -15.6420], [-1.5161, -15.0213], [-1.5675, -14.4714], [-1.3271, -16.6252], [-1.7617, -11.6600]],
}
TIGHT = [1, 3, 4]
"""Starts whose ends rounding hardly changes; the others cross a valley in which paths are chaotic."""
WITHIN = {"FAMO": 0.05, "NashMTL": 0.1}
"""How far ends may lie apart, 0.02 if not said: at the front these two still move along it, by differences that are rounding."""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("toy") / "figures.json"
    command = [
        sys.executable,
        str(ROOT / "benchmarks/toy.py"),
        "--methods",
        *ENDS,
        "--steps",
        str(STEPS),
        "--json",
        str(path),
    ]
    subprocess.run(command, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def ends(figures: dict[str, Any], name: str) -> Tensor:
    return torch.tensor(figures[name]["f"])


@pytest.mark.parametrize("name", ENDS)
def test_the_smooth_starts_end_where_independent_code_ends(figures: dict[str, Any], name: str) -> None:
    assert_close(ends(figures, name)[TIGHT], torch.tensor(ENDS[name])[TIGHT], rtol=0, atol=WITHIN.get(name, 0.02))


@pytest.mark.parametrize("name", ["MGDA", "IMTLG", "NashMTL", "FAMO"])
def test_balanced_runs_reach_the_front_from_everywhere(figures: dict[str, Any], name: str) -> None:
    assert all(figures[name]["on_front"])


def test_the_plain_sum_is_caught_in_the_valley(figures: dict[str, Any]) -> None:
    assert figures["sum"]["on_front"][1:] == [True, False, True, True]


def test_only_famo_goes_on_along_the_front(figures: dict[str, Any]) -> None:
    """From all starts, its ends are nearer to each other than those of any other that reaches the front from all."""
    spread = {name: float(ends(figures, name)[:, 1].std()) for name in ("MGDA", "IMTLG", "NashMTL", "FAMO")}
    assert min(spread, key=spread.__getitem__) == "FAMO"


def by_rows(gramian: Tensor) -> Tensor:
    """Ask TorchJD's ConFIG, which reads gradients, for gradients of this Gramian, and read the weights off what it gives."""
    values, vectors = torch.linalg.eigh(gramian)
    rows = vectors * values.clamp(min=0).sqrt()
    weights: Tensor = torch.linalg.lstsq(rows.T, jd.ConFIG()(rows)).solution
    return weights


RIVALS: dict[str, tuple[Callable[[], Balancer], Callable[[], Balancer]]] = {
    "AlignedMTL": (AlignedMTL, lambda: FromGramian(jd.AlignedMTLWeighting())),
    "FairGrad": (lambda: FairGrad(alpha=2.0), lambda: FromGramian(jd.FairGradWeighting(alpha=2.0))),
    "ConFIG": (ConFIG, lambda: FromGramian(by_rows)),
}


@pytest.mark.parametrize("name", RIVALS)
def test_paths_are_those_of_torchjd(name: str) -> None:
    """Over 1000 steps from all starts: these three end elsewhere than some report."""
    toy = runpy.run_path(str(ROOT / "benchmarks/toy.py"))
    ours, theirs = RIVALS[name]
    toy["METHODS"].update({"ours": ours, "theirs": theirs})
    found, expected = toy["paths"](["ours", "theirs"], 1000)
    assert_close(found, expected, rtol=0, atol=1e-3)
