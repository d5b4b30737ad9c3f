"""Is a task being forgotten?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...metrics import FEWEST
from ._finding import Finding, Table, Tone
from ._run import Run, column, fewest
from ._words import counted, known, listed, number, quoted, too_few, whole

QUESTION = "Is a task being forgotten?"
KIND = "ForgettingMonitor"
_MISSING = "Not measured: add `ForgettingMonitor`."
_FIGURES = {
    "forgetting": "forgetting (how far tasks are below their best, on average)",
    "backward_transfer": "backward transfer (what later stages add to earlier tasks)",
    "forward_transfer": "forward transfer (what earlier stages add to later tasks)",
}
_SINGLE = "These are single runs: that one forgets less than another is seen here, not tested over seeds."


def forgotten(runs: Sequence[Run]) -> Finding:
    """Answer by the alarms and figures of each run."""
    watched = [run for run in runs if run.monitor(KIND)]
    if not watched:
        return Finding(QUESTION, _MISSING, "missing")
    many = len(runs) > 1
    evidence = [line for run in watched for line in (*_figures(run, many), *_safe(run, many))]
    evidence += [_SINGLE] if len(watched) > 1 else []
    looks = min(fewest(run.monitor(KIND), "scores") for run in watched)
    alarmed = any(_tasks_alarmed(run) for run in watched)
    tone: Tone = "bad" if alarmed else "missing" if looks < FEWEST else "open"
    return Finding(
        QUESTION, _answer(watched, many, looks), tone, tuple(evidence), ("forgetting",), _table(watched, many)
    )


def alarms_of(run: Run, task: str) -> list[dict[str, Any]]:
    """Give the alarms of a task."""
    return [alarm for alarm in run.monitor(KIND).get("alarms") or [] if alarm.get("task") == task]


def _tasks_alarmed(run: Run) -> list[str]:
    return [name for name in run.monitor(KIND).get("tasks") or [] if alarms_of(run, name)]


def _answer(watched: Sequence[Run], many: bool, looks: int) -> str:
    alarmed = [run for run in watched if _tasks_alarmed(run)]
    calm = [run.name for run in watched if run not in alarmed]
    if alarmed:
        said = [f"{listed(_tasks_alarmed(run))}{f' in {quoted([run.name])}' if many else ''}" for run in alarmed]
        return f"Yes: {'; '.join(said)}.{f' No alarm in {quoted(calm)}.' if calm else ''}"
    if looks < FEWEST:
        return too_few(looks)
    return f"No sign of it: no alarm in {counted(looks, 'validation')}{' of each run' if len(watched) > 1 else ''}."


def _figures(run: Run, many: bool) -> list[str]:
    figures = run.monitor(KIND).get("figures") or {}
    told = [f"{words} {number(figures[key], True)}" for key, words in _FIGURES.items() if known(figures.get(key))]
    said = "; ".join(told)
    return [f"{quoted([run.name])}: {said}." if many else f"{said[0].upper()}{said[1:]}."] if told else []


def _safe(run: Run, many: bool) -> list[str]:
    """Name the checkpoints to go back to."""
    first = [alarms_of(run, name)[0] for name in _tasks_alarmed(run)]
    told = [f"{alarm['task']}: {alarm['safe']}" for alarm in first if alarm.get("safe")]
    return (
        [f"{f'{quoted([run.name])}: ' if many else ''}Checkpoints from before the drops: {'; '.join(told)}."]
        if told
        else []
    )


def _table(watched: Sequence[Run], many: bool) -> Table:
    names = list(dict.fromkeys(name for run in watched for name in run.monitor(KIND).get("tasks") or []))
    header = ("task", *([run.name for run in watched] if many else ["below its best so far"]))
    return Table(header, tuple((name, *(_cell(run, name) for run in watched)) for name in names))


def _cell(run: Run, name: str) -> str:
    of = run.monitor(KIND)
    drop = drawdown(of, name) if name in (of.get("tasks") or ()) else None
    if drop is None:
        return "not watched"
    alarms = alarms_of(run, name)
    said = "no alarm"
    if alarms:
        said = f"alarm at step {whole(alarms[0].get('step'))} ({number(alarms[0].get('drop'))}, tolerance {number(alarms[0].get('tolerance'))})"
    return f"{said}; {number(drop[1])} below its best at the end, {number(drop[0])} at worst"


def drawdown(of: dict[str, Any], name: str) -> tuple[float, float] | None:
    """Give how far a task fell below its best so far: at worst, and at the end."""
    at = of["tasks"].index(name)
    scores = column(of.get("scores"), at)
    if not scores:
        return None
    best, worst = scores[0], 0.0
    for score in scores:
        best = max(best, score)
        worst = max(worst, best - score)
    return worst, best - scores[-1]
