"""Is the small task overfitting?"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from ._finding import Finding
from ._run import Run, tasks_of
from ._words import counted, listed, number

QUESTION = "Is the small task overfitting?"
_MISSING = "Not measured: add `GapMonitor`. Until then, compare training with validation in the learning curves."
_WHERE = ("curves",)


def overfitting(runs: Sequence[Run]) -> Finding:
    """Answer by the gaps between training and validation, the task with the fewest rows first."""
    watched = [run for run in runs if run.monitor("GapMonitor")]
    if not watched:
        return Finding(QUESTION, _MISSING, "missing", (), _WHERE)
    rows = _rows(runs, watched)
    alarmed = [name for name in rows if any(_alarms(run, name) for run in watched)]
    evidence = [line for name in rows for run in watched for line in _evidence(run, name, rows[name], len(runs) > 1)]
    evidence += [line for run in watched for line in _stopped(run, len(runs) > 1)]
    return Finding(QUESTION, _answer(rows, alarmed), "bad" if alarmed else "open", tuple(evidence), _WHERE)


def _rows(runs: Sequence[Run], watched: Sequence[Run]) -> dict[str, float | None]:
    """Give the training rows of each task, the fewest first, unknown ones last."""
    known = {task["name"]: task.get("rows") for task in tasks_of(runs)}
    names = [name for run in watched for name in run.monitor("GapMonitor").get("tasks") or []]
    found = {name: known.get(name) for name in names}
    return dict(sorted(found.items(), key=lambda of: inf if of[1] is None else of[1]))


def _answer(rows: dict[str, float | None], alarmed: Sequence[str]) -> str:
    small, count = next(iter(rows.items()), ("", None))
    if count is None:
        return f"Yes: {listed(alarmed)}." if alarmed else "No sign of it: no alarm for any task."
    of = f"{small} ({counted(count, 'training row')}, the fewest)"
    others = [name for name in alarmed if name != small]
    more = f" There were alarms for {listed(others)}." if others else " No alarm for another task."
    return f"Yes: {of}.{more}" if small in alarmed else f"No sign of it for {of}.{more}"


def _alarms(run: Run, name: str) -> list[dict[str, Any]]:
    return [alarm for alarm in run.monitor("GapMonitor").get("alarms") or [] if alarm.get("task") == name]


def _evidence(run: Run, name: str, rows: float | None, many: bool) -> list[str]:
    of = run.monitor("GapMonitor")
    if name not in of.get("tasks", ()):
        return []
    who = f"{name} ({counted(rows, 'row')}{f', run {run.name}' if many else ''})"
    if alarms := _alarms(run, name):
        return [f"{who}: {_alarm(alarms)}"]
    at = of["tasks"].index(name)
    train, held = _newest(of.get("train"), at), _newest(of.get("validate"), at)
    gap = None if train is None or held is None else held - train
    losses = f"at the end training loss {number(train)}, validation loss {number(held)}, gap {number(gap, True)}"
    return [f"{who}: no alarm; {losses}."]


def _alarm(alarms: Sequence[dict[str, Any]]) -> str:
    step, rise, tolerance, gap = (number(alarms[0].get(key)) for key in ("step", "rise", "tolerance", "gap"))
    more = f" {counted(len(alarms), 'alarm')} in all." if len(alarms) > 1 else ""
    return f"alarm at step {step}: validation loss rose by {rise} (tolerance {tolerance}), the gap to training loss was {gap}.{more}"


def _newest(rows: Any, at: int) -> float | None:
    found = [row[at] for row in rows or [] if at < len(row) and row[at] is not None]
    return found[-1] if found else None


def _stopped(run: Run, many: bool) -> list[str]:
    where = f" (run {run.name})" if many else ""
    stopped = run.monitor("TaskEarlyStopping").get("stopped") or {}
    return [f"{name} was stopped early at step {number(step)}{where}." for name, step in stopped.items()]
