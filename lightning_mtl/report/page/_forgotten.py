"""The answer to: is a task being forgotten?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...metrics import FEWEST
from ._finding import Finding, Table, Tone
from ._run import Run, fewest_validations, read_column
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
    """Answer from the alarms and figures of each run."""
    watched = [run for run in runs if run.monitor(KIND)]
    if not watched:
        return Finding(QUESTION, _MISSING, "missing")
    many = len(runs) > 1
    evidence = [line for run in watched for line in (*_figures(run, many), *_safe(run, many))]
    evidence += [_SINGLE] if len(watched) > 1 else []
    validations = min(fewest_validations(run.monitor(KIND), "scores") for run in watched)
    alarmed = any(_tasks_alarmed(run) for run in watched)
    tone: Tone = "bad" if alarmed else "missing" if validations < FEWEST else "open"
    answer, table = _answer(watched, many, validations), _table(watched, many)
    return Finding(QUESTION, answer, tone, tuple(evidence), ("forgetting",), table)


def alarms_of(run: Run, task: str) -> list[dict[str, Any]]:
    """Return the alarms of a task."""
    return [alarm for alarm in run.monitor(KIND).get("alarms") or [] if alarm.get("task") == task]


def _tasks_alarmed(run: Run) -> list[str]:
    return [name for name in run.monitor(KIND).get("tasks") or [] if alarms_of(run, name)]


def _answer(watched: Sequence[Run], many: bool, validations: int) -> str:
    alarmed = [run for run in watched if _tasks_alarmed(run)]
    others = [run.name for run in watched if run not in alarmed]
    if alarmed:
        parts = [f"{listed(_tasks_alarmed(run))}{f' in {quoted([run.name])}' if many else ''}" for run in alarmed]
        return f"Yes: {'; '.join(parts)}.{f' No alarm in {quoted(others)}.' if others else ''}"
    if validations < FEWEST:
        return too_few(validations)
    of_each = " of each run" if len(watched) > 1 else ""
    return f"No sign of it: no alarm in {counted(validations, 'validation')}{of_each}."


def _figures(run: Run, many: bool) -> list[str]:
    figures = run.monitor(KIND).get("figures") or {}
    parts = [f"{words} {number(figures[key], True)}" for key, words in _FIGURES.items() if known(figures.get(key))]
    line = "; ".join(parts)
    return [f"{quoted([run.name])}: {line}." if many else f"{line[0].upper()}{line[1:]}."] if parts else []


def _safe(run: Run, many: bool) -> list[str]:
    """Return a sentence with the checkpoints to go back to, if there are some."""
    first = [alarms_of(run, name)[0] for name in _tasks_alarmed(run)]
    parts = [f"{alarm['task']}: {alarm['safe']}" for alarm in first if alarm.get("safe")]
    where = f"{quoted([run.name])}: " if many else ""
    return [f"{where}Checkpoints from before the drops: {'; '.join(parts)}."] if parts else []


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
    first = "no alarm"
    if alarms:
        first = f"alarm at step {whole(alarms[0].get('step'))} ({number(alarms[0].get('drop'))}, tolerance {number(alarms[0].get('tolerance'))})"
    return f"{first}; {number(drop[1])} below its best at the end, {number(drop[0])} at worst"


def drawdown(of: dict[str, Any], name: str) -> tuple[float, float] | None:
    """Return how far a task fell below its best so far: at worst, and at the end."""
    at = of["tasks"].index(name)
    scores = read_column(of.get("scores"), at)
    if not scores:
        return None
    best, worst = scores[0], 0.0
    for score in scores:
        best = max(best, score)
        worst = max(worst, best - score)
    return worst, best - scores[-1]
