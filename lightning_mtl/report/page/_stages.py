"""Figures of forgetting: scores over time, and after each stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from ._drawing import BAND, COLOURS, GREY, RISING, Panel, blank, draw, head, legend, text
from ._forgotten import KIND, alarms_of
from ._grids import Values, grid
from ._run import Run
from ._words import number

_LEAST_RANGE = 0.1
"""The smallest range of colours, as a share of the task's best score."""
_MOST_BANDS = 16
"""With more stages there are no bands."""


def forgetting_panels(runs: Sequence[Run]) -> list[Panel]:
    """Draw the score of each task by step, of all runs in one figure, and the scores after each stage of each run."""
    watched = [run for run in runs if run.monitor(KIND)]
    names = list(dict.fromkeys(name for run in watched for name in run.monitor(KIND).get("tasks") or []))
    over_time = [_panel(i, name, watched) for i, name in enumerate(names)]
    after = [_matrix(i, run, len(runs) > 1) for i, run in enumerate(watched)]
    return [panel for panel in (*over_time, *after) if panel is not None]


def scores(run: Run, task: str) -> list[tuple[float, float]]:
    """Return a task's scores by step from the monitor's record; higher is better."""
    of = run.monitor(KIND)
    if task not in (of.get("tasks") or []):
        return []
    at = of["tasks"].index(task)
    rows = zip(of.get("steps") or [], of.get("scores") or [], strict=False)
    return [(float(step), float(row[at])) for step, row in rows if at < len(row) and row[at] is not None]


def _panel(i: int, task: str, runs: Sequence[Run]) -> Panel | None:
    scored = [run for run in runs if scores(run, task)]
    if not scored:
        return None
    figure, (axes,) = blank(2.7)
    shaded = next((run for run in scored if _bands(run)), None)
    if shaded is not None:
        _shade(axes, _bands(shaded))
    for k, run in enumerate(scored):
        draw(axes, scores(run, task), runs.index(run), run.name if len(runs) > 1 else None)
        _mark_alarms(axes, run, task, first=not any(alarms_of(before, task) for before in scored[:k]))
    head(figure, task)
    axes.set_ylabel("score (higher is better)")
    axes.set_xlabel("step")
    legend(figure, axes)
    parts = [
        f"{run.name}: best {number(best)}, last {number(points[-1][1])}, {len(alarms_of(run, task))} alarms"
        for run in scored
        for points in [scores(run, task)]
        for best in [max(value for _, value in points)]
    ]
    caption = "" if shaded is None else f"Bands: the stages{f' of {shaded.name}' if len(runs) > 1 else ''}."
    return Panel(f"forgetting-{i}", figure, f"Score of {task} by step. {'; '.join(parts)}.", caption)


def _mark_alarms(axes: Axes, run: Run, task: str, first: bool) -> None:
    points = dict(scores(run, task))
    at = [(alarm["step"], points[alarm["step"]]) for alarm in alarms_of(run, task) if alarm.get("step") in points]
    if at:
        x, y = zip(*at, strict=True)
        axes.plot(x, y, "X", color=COLOURS[-1], markersize=8, zorder=5, label="alarm" if first else None)


def _bands(run: Run) -> list[dict[str, Any]]:
    stages = list(run.record.get("stages") or [])
    return stages if 1 < len(stages) <= _MOST_BANDS else []


def _shade(axes: Axes, stages: Sequence[dict[str, Any]]) -> None:
    whole = stages[-1]["end"] - stages[0]["start"]
    for i, stage in enumerate(stages):
        if i % 2:
            axes.axvspan(stage["start"], stage["end"], color=BAND, zorder=0, linewidth=0)
        room = int(38 * (stage["end"] - stage["start"]) / max(whole, 1))
        if room >= 4:
            middle = (stage["start"] + stage["end"]) / 2
            on = ("data", "axes fraction")
            axes.annotate(
                text(stage["name"], room),
                (middle, 1.01),
                xycoords=on,
                ha="center",
                va="bottom",
                fontsize=7.5,
                color=GREY,
            )


def _matrix(i: int, run: Run, many: bool) -> Panel | None:
    of = run.monitor(KIND)
    stages, tasks, matrix = of.get("stages") or [], of.get("tasks") or [], of.get("matrix") or []
    if len(stages) < 2 or len(matrix) != len(stages):
        return None
    values = [[None if value is None else float(value) for value in row] for row in matrix]
    cells = [["" if value is None else number(value) for value in row] for row in values]
    title = f"After each stage{f': {run.name}' if many else ''}"
    names = ([f"after {stage}" for stage in stages], tasks)
    caption = "Score of each task after each stage; darker is better within a column."
    return grid(f"stages-{i}", title, _by_column(values), (RISING, 0.0, 1.25), names, cells, caption)


def _by_column(values: Values) -> list[list[float | None]]:
    """Scale each task's scores to [0, 1], with its best at 1, since tasks have different metrics."""
    columns = [[value for value in column if value is not None] for column in zip(*values, strict=True)]
    tops = [max(column, default=0.0) for column in columns]
    widths = [
        max(top - min(column, default=top), _LEAST_RANGE * abs(top)) or 1.0
        for top, column in zip(tops, columns, strict=True)
    ]
    return [
        [
            None if value is None else 1 - (top - value) / width
            for value, top, width in zip(row, tops, widths, strict=True)
        ]
        for row in values
    ]
