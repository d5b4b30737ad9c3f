"""Is a task being forgotten?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._finding import Finding
from ._run import Run
from ._words import counted, known, listed, number

QUESTION = "Is a task being forgotten?"
_MISSING = "Not measured: add `ForgettingMonitor`."
_FIGURES = (
    ("forgetting", "forgetting (drop from the best, mean of tasks)"),
    ("backward_transfer", "backward transfer (what later stages add to earlier tasks)"),
    ("forward_transfer", "forward transfer (what earlier stages add to later tasks)"),
)


def forgotten(runs: Sequence[Run]) -> Finding:
    """Answer by the alarms and figures of each run."""
    watched = [run for run in runs if run.monitor("ForgettingMonitor")]
    if not watched:
        return Finding(QUESTION, _MISSING, "missing")
    alarmed = [run for run in watched if _alarms(run)]
    looks = max(len(run.monitor("ForgettingMonitor").get("steps") or []) for run in watched)
    evidence = [line for run in watched for line in _evidence(run, len(runs) > 1)]
    if len(watched) > 1:
        evidence.append(
            "These are single runs: that one forgets less than another is seen here, not tested over seeds."
        )
    answer = _answer(watched, alarmed, looks, len(runs) > 1)
    tone = "bad" if alarmed else "open"
    return Finding(QUESTION, answer, tone, tuple(evidence), ("forgetting",))  # type: ignore[arg-type]


def _alarms(run: Run) -> list[dict[str, Any]]:
    return list(run.monitor("ForgettingMonitor").get("alarms") or [])


def _tasks_alarmed(run: Run) -> list[str]:
    return list(dict.fromkeys(str(alarm.get("task")) for alarm in _alarms(run)))


def _answer(watched: Sequence[Run], alarmed: Sequence[Run], looks: int, many: bool) -> str:
    if not alarmed:
        if looks < 2:
            return "Cannot be said: a drop needs at least two validations."
        return f"No sign of it: no alarm in {counted(looks, 'validation')}{' of each run' if many else ''}."
    said = [f"{listed(_tasks_alarmed(run))}{f' in {run.name}' if many else ''}" for run in alarmed]
    calm = [run.name for run in watched if run not in alarmed]
    return f"Yes: {'; '.join(said)}.{f' No alarm in {listed(calm)}.' if calm else ''}"


def _evidence(run: Run, many: bool) -> list[str]:
    before = f"{run.name}: " if many else ""
    of = run.monitor("ForgettingMonitor")
    figures = of.get("figures") or {}
    told = [f"{words} {number(figures[key], True)}" for key, words in _FIGURES if known(figures.get(key))]
    lines = [f"{before}{'; '.join(told)}."] if told else []
    for name in of.get("tasks") or []:
        alarms = [alarm for alarm in _alarms(run) if alarm.get("task") == name]
        if line := _of_task(name, drawdown(of, name), alarms):
            lines.append(before + line)
    return lines


def _of_task(name: str, drop: tuple[float, float] | None, alarms: Sequence[dict[str, Any]]) -> str:
    said = []
    if alarms:
        first = alarms[0]
        safe = f" (the last good checkpoint: {first['safe']})" if first.get("safe") else ""
        said.append(
            f"alarm at step {number(first.get('step'))}: {number(first.get('drop'))} below its best, tolerance "
            f"{number(first.get('tolerance'))}{safe}"
        )
    if drop is not None:
        worst, at_end = drop
        said.append(f"largest drop below its best so far {number(worst)}, at the end {number(at_end)}")
    return f"{name}: {'; '.join(said)}." if said else ""


def drawdown(of: dict[str, Any], name: str) -> tuple[float, float] | None:
    """Give how far a task fell below its best so far: at worst, and at the end."""
    at = of["tasks"].index(name)
    scores = [row[at] for row in of.get("scores") or [] if at < len(row) and row[at] is not None]
    if not scores:
        return None
    best, worst = scores[0], 0.0
    for score in scores:
        best = max(best, score)
        worst = max(worst, best - score)
    return worst, best - scores[-1]
