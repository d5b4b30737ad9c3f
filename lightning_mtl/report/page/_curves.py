"""Learning curves of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from ..._plain import escaped
from ._drawing import COLOURS, Panel, blank, draw, head, legend, text
from ._run import Run, tasks_of
from ._words import number

_STAGES = (("train", "training"), ("validate", "validation"))


def curves(runs: Sequence[Run]) -> list[Panel]:
    """Draw loss and main metric of each task, in training and validation, one panel for each task."""
    made = [_panel(i, task, runs) for i, task in enumerate(tasks_of(runs))]
    return [panel for panel in made if panel is not None]


def _panel(i: int, task: dict[str, Any], runs: Sequence[Run]) -> Panel | None:
    name = task["name"]
    shown = [key for key in ("loss", task.get("metric")) if key and any(_has(run, name, key) for run in runs)]
    if not shown:
        return None
    figure, axes = blank(0.75 + 1.75 * len(shown), rows=len(shown), sharex=True)
    for on, key in zip(axes, shown, strict=True):
        _draw(on, name, key, runs)
        better = "lower" if key == "loss" or (task.get("sign") or 1) < 0 else "higher"
        on.set_ylabel(f"{text(key, 16)}\n({better} is better)")
    head(figure, name)
    axes[-1].set_xlabel("step")
    _mark_alarms(axes[0], runs, name)
    legend(figure, axes[0])
    caption = "" if len(runs) == 1 else "Solid: validation; dotted: training."
    return Panel(f"curves-{i}", figure, _alt(name, shown, runs), caption)


def _has(run: Run, task: str, key: str) -> bool:
    return any(run.points(f"{stage}/{escaped(task)}/{key}") for stage, _ in _STAGES)


def _draw(axes: Axes, task: str, key: str, runs: Sequence[Run]) -> None:
    for i, run in enumerate(runs):
        for j, (stage, word) in enumerate(_STAGES):
            points = run.points(f"{stage}/{escaped(task)}/{key}")
            if not points:
                continue
            training = stage == "train"
            style: dict[str, Any] = {"linestyle": ":" if training else "-", "linewidth": 1.3 if training else 1.8}
            if training:
                style["marker"] = ""
            label = word if len(runs) == 1 else None if training else run.name
            draw(axes, points, 1 - j if len(runs) == 1 else i, label, **style)


def _mark_alarms(axes: Axes, runs: Sequence[Run], task: str) -> None:
    """Mark alarms of `GapMonitor` on the validation loss."""
    at = []
    for run in runs:
        points = dict(run.points(f"validate/{escaped(task)}/loss"))
        alarms = run.monitor("GapMonitor").get("alarms") or []
        steps = [alarm["step"] for alarm in alarms if alarm.get("task") == task and alarm.get("step") in points]
        at += [(step, points[step]) for step in steps]
    if at:
        x, y = zip(*at, strict=True)
        axes.plot(x, y, "X", color=COLOURS[-1], markersize=8, label="alarm", zorder=5)


def _alt(task: str, shown: Sequence[str], runs: Sequence[Run]) -> str:
    parts = [
        f"{run.name}: last {word} {key} {number(run.last(f'{stage}/{task}/{key}'))}"
        for run in runs
        for key in shown
        for stage, word in _STAGES
        if run.last(f"{stage}/{escaped(task)}/{key}") is not None
    ]
    return f"Learning curves of {task}, {' and '.join(shown)} by step. {'; '.join(parts)}."
