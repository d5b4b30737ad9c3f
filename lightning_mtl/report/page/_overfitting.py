"""The answer to: is the small task overfitting?"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from ...metrics import FEWEST
from ._finding import Finding, Table, Tone
from ._run import Run, fewest_validations, read_column, tasks_of
from ._words import counted, known, listed, number, quoted, too_few, whole

QUESTION = "Is the small task overfitting?"
_KIND = "GapMonitor"
_MISSING = "Not measured: add `GapMonitor`. Until then, compare training with validation in the learning curves."
_WHERE = ("curves",)


def overfitting(runs: Sequence[Run]) -> Finding:
    """Answer from the gaps between training and validation, the task with the fewest rows first."""
    watched = [run for run in runs if run.monitor(_KIND)]
    if not watched:
        return Finding(QUESTION, _MISSING, "missing", (), _WHERE)
    rows = _rows(runs, watched)
    alarmed = [name for name in rows if any(_alarms(run, name) for run in watched)]
    header = ("task", "training rows", *([run.name for run in watched] if len(runs) > 1 else ["gap"]))
    cells = [(name, whole(count), *(_cell(run, name) for run in watched)) for name, count in rows.items()]
    evidence = [
        "The gap is validation loss minus the training loss shown before it; an alarm is by the rule of GapMonitor, not a test."
    ]
    evidence += [line for run in watched for line in _stopped(run, len(runs) > 1)]
    validations = min(_validations(run, next(iter(rows), "")) for run in watched)
    answer = _answer(rows, alarmed, validations)
    tone: Tone = "bad" if alarmed else "open" if validations >= FEWEST else "missing"
    return Finding(QUESTION, answer, tone, tuple(evidence), _WHERE, Table(header, tuple(cells)))


def _rows(runs: Sequence[Run], watched: Sequence[Run]) -> dict[str, int | float | None]:
    """Return the number of training rows of each task, the fewest first, unknown ones last."""
    known = {task["name"]: task.get("rows") for task in tasks_of(runs)}
    names = [name for run in watched for name in run.monitor(_KIND).get("tasks") or []]
    found = {name: known.get(name) for name in names}
    return dict(sorted(found.items(), key=lambda of: inf if of[1] is None else of[1]))


def _validations(run: Run, small: str) -> int:
    """Return the number of validations of the small task, or the fewest of any task where the small one is unknown."""
    of = run.monitor(_KIND)
    names = of.get("tasks") or []
    return (
        len(read_column(of.get("validate"), names.index(small)))
        if small in names
        else fewest_validations(of, "validate")
    )


def _answer(rows: dict[str, int | float | None], alarmed: Sequence[str], validations: int) -> str:
    small, count = next(iter(rows.items()), ("", None))
    if count is None:
        no = "No sign of it: no alarm for any task." if validations >= FEWEST else too_few(validations)
        return f"Yes: {listed(alarmed)}." if alarmed else no
    of = f"{small} ({counted(count, 'training row')}, the fewest)"
    others = [name for name in alarmed if name != small]
    no = f"No sign of it for {of}." if validations >= FEWEST else too_few(validations, of)
    rest = " No alarm for another task." if len(rows) > 1 else ""
    more = f" There were alarms for {listed(others)}." if others else rest
    return f"Yes: {of}.{more}" if small in alarmed else f"{no}{more}"


def _alarms(run: Run, name: str) -> list[dict[str, Any]]:
    return [alarm for alarm in run.monitor(_KIND).get("alarms") or [] if alarm.get("task") == name]


def _cell(run: Run, name: str) -> str:
    of = run.monitor(_KIND)
    if name not in (of.get("tasks") or ()):
        return "not watched"
    at = of["tasks"].index(name)
    pairs = zip(of.get("train") or [], of.get("validate") or [], of.get("steps") or [], strict=False)
    both = [(held[at], train[at], step) for train, held, step in pairs if known(train[at], held[at])]
    if not both:
        return f"{_alarm(_alarms(run, name))}; no validation with a training loss before it"
    held, train, step = both[-1]
    end = f"{number(held - train, True)} at step {whole(step)} (training {number(train)}, validation {number(held)})"
    return f"{_alarm(_alarms(run, name))}; {end}"


def _alarm(alarms: Sequence[dict[str, Any]]) -> str:
    if not alarms:
        return "no alarm"
    rise, tolerance, gap = (number(alarms[0].get(key)) for key in ("rise", "tolerance", "gap"))
    more = f" (the first of {len(alarms)} alarms)" if len(alarms) > 1 else ""
    step = whole(alarms[0].get("step"))
    return f"alarm at step {step}{more}: validation loss rose by {rise}, tolerance {tolerance}, gap {gap}"


def _stopped(run: Run, many: bool) -> list[str]:
    where = f" in {quoted([run.name])}" if many else ""
    stopped = run.monitor("TaskEarlyStopping").get("stopped") or {}
    return [f"{name} was stopped early at step {whole(step)}{where}." for name, step in stopped.items()]
