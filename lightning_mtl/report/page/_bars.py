"""Figures of a comparison: the gain of each task, and the scores of each seed."""

from __future__ import annotations

from collections.abc import Sequence

from ._arms import OWN, ComparedArms, ComparedTask, mean_of
from ._drawing import COLOURS, GREY, Panel, blank, head, text
from ._words import interval, known, number

_STYLES = {"gains": (COLOURS[0], "^"), "loses": (COLOURS[1], "v"), "no evidence": (GREY, "o")}


def compared_panels(comparison: ComparedArms | None) -> list[Panel]:
    """Draw the gain of all tasks with intervals, and the scores of each task's seeds in all arms."""
    if comparison is None:
        return []
    return [
        *_gains(comparison),
        *(_seeds(i, task, comparison) for i, task in enumerate(comparison.tasks) if task.multi),
    ]


def _gains(comparison: ComparedArms) -> list[Panel]:
    shown = [(task, gain) for task in comparison.tasks if (gain := relative(task)) is not None]
    if not shown:
        return []
    figure, (axes,) = blank(1.0 + 0.42 * len(shown))
    for row, (task, (mean, low, high)) in enumerate(shown):
        colour, marker = _STYLES.get(task.verdict, _STYLES["no evidence"])
        if low is not None and high is not None:
            axes.plot((low, high), (row, row), color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot(mean, row, marker, color=colour, markersize=8)
        axes.annotate(
            task.verdict, (1.02, row), xycoords=("axes fraction", "data"), va="center", color=colour, fontsize=8.5
        )
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(shown)), [text(task.name, 18) for task, _ in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("gain in percent of the mean (right is better)")
    head(figure, f"{comparison.arms[1]} against {comparison.arms[0]}")
    parts = "; ".join(f"{task.name} {interval(gain)} percent, {task.verdict}" for task, gain in shown)
    caption = "Bars: 95% intervals over paired seeds. A bar that crosses zero is no evidence either way."
    return [Panel("comparison", figure, f"Gain of each task: {parts}.", caption)]


def relative(task: ComparedTask) -> tuple[float, float | None, float | None] | None:
    """Return the difference and its interval in percent of the first arm's mean; positive is better."""
    base, (mean, low, high) = mean_of(task.single), task.difference
    if not base or mean is None:
        return None
    by = 100 * task.sign / abs(base)
    ends = sorted((by * low, by * high)) if low is not None and high is not None and known(low, high) else (None, None)
    return by * mean, ends[0], ends[1]


def _seeds(i: int, task: ComparedTask, comparison: ComparedArms) -> Panel:
    named = zip((*comparison.arms, OWN), (task.single, task.multi, task.own), strict=True)
    arms = [(name, values) for name, values in named if values]
    figure, (axes,) = blank(2.5)
    for seed in zip(*(values for _, values in arms), strict=False):
        axes.plot(range(len(arms)), seed, color=COLOURS[0], alpha=0.4, marker="o", linewidth=1)
    means = [mean_of(values) or 0.0 for _, values in arms]
    axes.plot(range(len(arms)), means, color=COLOURS[1], marker="D", markersize=6, linewidth=2.4)
    axes.set_xticks(range(len(arms)), [text(name, 16) for name, _ in arms])
    axes.set_xlim(-0.35, len(arms) - 0.65)
    axes.set_ylabel(f"{text(task.metric, 16)}\n({task.better} is better)")
    head(figure, f"{text(task.name, 28)}: {task.verdict}")
    return Panel(f"comparison-{i}", figure, _alt(task, arms), "Thin: each seed; thick: their mean.")


def _alt(task: ComparedTask, arms: Sequence[tuple[str, tuple[float, ...]]]) -> str:
    parts = ", ".join(f"{name} {number(mean_of(values))}" for name, values in arms)
    return f"{task.name}, mean {task.metric} of each arm ({task.better} is better): {parts}."
