"""The figure of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from .._pictures import as_text, plain_text
from ..writing import whole_file
from ._task_result import TaskComparison

_COLUMNS, _MOST = 8, 80
"""Panels in a row, and in a figure: one of more would be too large."""


def plot(path: str | Path, tasks: Sequence[TaskComparison], arms: Sequence[str], title: str) -> None:
    """Draw the arms of each task side by side, a line for each seed, as a PNG; names are drawn as they are.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    with plain_text():
        from matplotlib.figure import Figure

        shown = tasks[:_MOST]
        columns = min(len(shown), _COLUMNS)
        rows = -(-len(shown) // columns)
        figure = Figure(figsize=(1.4 * len(arms) * columns + 0.6, 3.3 * rows + 0.3), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, task in zip(panels, shown, strict=False):
            _draw(axes, task, arms)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        figure.suptitle(title, fontsize=11)
        left_out = f"; {len(tasks) - _MOST} more tasks are in the table" if len(tasks) > _MOST else ""
        figure.supxlabel(f"thin: each of {len(tasks[0].single)} seeds; thick: their mean{left_out}", fontsize=8)
        with whole_file(path) as part:
            figure.savefig(part, dpi=150)


def _draw(axes: Any, task: TaskComparison, arms: Sequence[str]) -> None:
    values = [of for of in (task.single, task.multi, task.two_stage) if of is not None]
    positions = range(len(arms))
    for line in zip(*values, strict=True):
        axes.plot(positions, line, color="#0072B2", alpha=0.35, marker="o", markersize=4, linewidth=1)
    axes.plot(positions, [fmean(of) for of in values], color="#D55E00", marker="D", linewidth=2.5)
    axes.set_xticks(positions, [as_text(arm) for arm in arms])
    axes.set_xlim(-0.35, len(arms) - 0.65)
    axes.set_title(_title(task), fontsize=9)
    axes.set_ylabel(f"{as_text(task.metric)} ({'higher' if task.sign > 0 else 'lower'} is better)", fontsize=9)
    axes.tick_params(labelsize=8)


def _title(task: TaskComparison) -> str:
    staged = task.staged
    title = f"{as_text(task.task)}: {task.verdict}\n{task.difference}"
    return title if staged is None else f"{title}\ntwo-stage: {staged.verdict}, {staged.difference}"
