"""Names are drawn as they are."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib import pyplot as plt

from lightning_mtl._pictures import as_text, drawn, plain_text
from lightning_mtl.comparison import Comparison, TaskComparison
from lightning_mtl.meta import EpisodeScores, FewShotComparison
from lightning_mtl.report import write_report

NAMES = [
    "cost in $_{EU $",
    "$x^$",
    "_hidden",
    "a\\frac{1",
    "{}",
    "^",
    "50%",
    "käse 温度",
    "a\nb",
    "$",
    "#&~",
    "x" * 300,
]


@pytest.mark.parametrize("usetex", [False, True])
def test_every_picture_takes_every_name(usetex: bool, tmp_path: Path) -> None:
    tasks = [TaskComparison(name, name, 1, (0.5, 0.6), (0.6, 0.5)) for name in NAMES]
    scores = {name: {of: EpisodeScores("accuracy", [torch.rand(3, 4)]) for of in NAMES} for name in NAMES[:2]}
    with matplotlib.rc_context({"text.usetex": usetex, "text.parse_math": True}):
        comparison = Comparison((0, 1), tuple(tasks), (NAMES[0], NAMES[1]))
        comparison.plot(tmp_path / "c.png")
        FewShotComparison(scores, (0, 1, 2), {}).plot(tmp_path / "f.png")
        if not usetex:
            facts = [{"name": name, "metric": name, "sign": 1, "rows": 5} for name in NAMES]
            write_report(tmp_path, {NAMES[0]: {"tasks": facts}}, comparison.record())
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_many_tasks_fit_into_a_picture(tmp_path: Path) -> None:
    tasks = tuple(TaskComparison(f"t{i}", "r2", 1, (0.5,), (0.6,)) for i in range(200))
    Comparison((0,), tasks).plot(tmp_path / "c.png")
    assert (tmp_path / "c.png").exists()


def test_no_name_is_left_out_of_a_legend() -> None:
    with plain_text():
        figure, axes = plt.subplots()
        for name in NAMES:
            axes.plot([0, 1], [0, 1], label=as_text(name))
        labels = axes.get_legend_handles_labels()[1]
        plt.close(figure)
    assert len(labels) == len(NAMES)


def test_what_cannot_be_drawn_is_left_out_with_a_line() -> None:
    def fails() -> None:
        raise OSError("first\nNo space left")

    def missing() -> None:
        raise ModuleNotFoundError("A picture needs matplotlib: pip install it")

    with warnings.catch_warnings():
        assert drawn(lambda: 3, "a.png") is None
    assert drawn(fails, "a.png") == "a.png is left out: OSError: No space left"
    assert drawn(missing, "a.png") == "a.png is left out. A picture needs matplotlib: pip install it"
