"""The answer to: how much capacity should be shared?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...comparison import Interval
from ._arms import OWN, SHARED, SINGLE, ComparedArms, ComparedTask
from ._finding import Finding
from ._run import Run
from ._words import counted, interval, known, listed, number, percent, verb

QUESTION = "How much capacity should be shared?"
_MORE = "Going on alone is layers of its own and more training: a gain may come of either."
_MISSING = "Not measured: run `compare` with its two-stage arm, which trains all tasks together and then each alone."


def capacity(runs: Sequence[Run], comparison: ComparedArms | None) -> Finding:
    """Answer from the two-stage arm against the shared network, their sizes, and the work of each level."""
    tasks = comparison.tasks if comparison is not None else ()
    gains = [(task, gain) for task in tasks if (gain := own_gain(task)) is not None]
    costs = comparison.costs if comparison is not None else {}
    levels: list[dict[str, Any]] = next((run.record["levels"] for run in runs if run.record.get("levels")), [])
    evidence = (*(_evidence(task, gain) for task, gain in gains), *_sizes(costs), *_times(costs), *_work(levels))
    sections = ("comparison",) * bool(gains or costs) + ("levels",) * bool(levels)
    if not gains:
        return Finding(QUESTION, _MISSING, "missing", evidence, sections)
    evidence = (*evidence, _MORE)
    clear = any(gain.verdict != "no evidence" for _, gain in gains)
    return Finding(QUESTION, _answer(gains), "good" if clear else "open", evidence, sections)


def own_gain(task: ComparedTask) -> Interval | None:
    """Return what a task gains by layers of its own in the end; None where that was not tried."""
    if not task.own or len(task.own) != len(task.multi):
        return None
    return Interval.of([task.sign * (own - shared) for own, shared in zip(task.own, task.multi, strict=True)])


def _answer(gains: Sequence[tuple[ComparedTask, Interval]]) -> str:
    of = {kind: [task.name for task, gain in gains if gain.verdict == kind] for kind in _PHRASES}
    parts = [f"{listed(of[kind])} {verb(of[kind], *_PHRASES[kind])}" for kind in ("gains", "loses") if of[kind]]
    if rest := of["no evidence"]:
        start = "for" if parts else "For"
        parts.append(f"{start} {listed(rest)} there is no evidence either way: sharing all is the simpler choice")
    return f"{'; '.join(parts)}."


_PHRASES = {
    "gains": ("gains by going on alone", "gain by going on alone"),
    "loses": ("loses by going on alone", "lose by going on alone"),
    "no evidence": ("", ""),
}


def _evidence(task: ComparedTask, gain: Interval) -> str:
    bounds = [*gain.record().values()]
    words = {"gains": "better than the shared network", "loses": "worse than the shared network"}
    verdict = words.get(gain.verdict, "no evidence either way")
    turned = "" if task.sign > 0 else ", counted so that higher is better"
    return f"{task.name}: {OWN} minus shared, {task.metric}{turned}: {interval(bounds)}: {verdict}."


def _sizes(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    sizes = {arm: of["parameters"] for arm, of in costs.items() if known(of.get("parameters"))}
    if not sizes:
        return []
    parts = ", ".join(f"{arm} {counted(size, 'parameter')}" for arm, size in sizes.items())
    alone, shared = sizes.get(SINGLE), sizes.get(SHARED)
    share = (
        f" One network has {percent(shared / alone)} of what all single-task networks have." if alone and shared else ""
    )
    return [f"Sizes: {parts}.{share}"]


def _times(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    parts = [f"{arm} {number(of['seconds'])} s" for arm, of in costs.items() if known(of.get("seconds"))]
    return [f"Training took: {', '.join(parts)}."] if parts else []


def _work(levels: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences on how much of the encoder each task needs, from the bottom up."""
    done, lines = 0.0, []
    for level in levels:
        done += level.get("share") or 0.0
        if names := level.get("tasks"):
            needs = f"{listed(names)} {verb(names, 'needs', 'need')} {percent(done)} of the encoder's work"
            lines.append(f"{needs} (up to level {level.get('name')}).")
    return lines
