"""The figure of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ..writing import whole_file
from ._task_result import TaskComparison


def plot(path: str | Path, tasks: Sequence[TaskComparison], arms: Sequence[str], title: str) -> None:
    """Draw the arms of each task side by side, a line for each seed, as a PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("A plot needs matplotlib: pip install 'lightning-mtl[recipes]'") from error
    figure = Figure(figsize=(1.4 * len(arms) * len(tasks) + 0.6, 3.6), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _draw(axes, task, arms)
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(f"thin: each of {len(tasks[0].single)} seeds; thick: their mean", fontsize=8)
    with whole_file(path) as part:
        figure.savefig(part, dpi=150)


def _draw(axes: Any, task: TaskComparison, arms: Sequence[str]) -> None:
    values = [of for of in (task.single, task.multi, task.two_stage) if of is not None]
    positions = range(len(arms))
    for line in zip(*values, strict=True):
        axes.plot(positions, line, color="#0072B2", alpha=0.35, marker="o", markersize=4, linewidth=1)
    axes.plot(positions, [fmean(of) for of in values], color="#D55E00", marker="D", linewidth=2.5)
    axes.set_xticks(positions, arms)
    axes.set_xlim(-0.35, len(arms) - 0.65)
    axes.set_title(_title(task), fontsize=9)
    axes.set_ylabel(f"{task.metric} ({'higher' if task.sign > 0 else 'lower'} is better)", fontsize=9)
    axes.tick_params(labelsize=8)


def _title(task: TaskComparison) -> str:
    staged = task.staged
    title = f"{task.task}: {task.verdict}\n{task.difference}"
    return title if staged is None else f"{title}\ntwo-stage: {staged.verdict}, {staged.difference}"
