"""How much capacity should be shared?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...comparison import Interval
from ._compared import OWN, SHARED, SINGLE, Compared, Judged
from ._finding import Finding
from ._run import Run
from ._words import counted, interval, known, listed, number, percent, verb

QUESTION = "How much capacity should be shared?"
_MORE = "Going on alone is layers of its own and more training: a gain may come of either."
_MISSING = "Not measured: run `compare` with its two-stage arm, which trains all tasks together and then each alone."


def capacity(runs: Sequence[Run], comparison: Compared | None) -> Finding:
    """Answer by the two-stage arm against the shared network, by their sizes, and by the work of each level."""
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


def own_gain(task: Judged) -> Interval | None:
    """Give what a task gains where it has layers of its own in the end; None where that was not tried."""
    if not task.own or len(task.own) != len(task.multi):
        return None
    return Interval.of([task.sign * (own - shared) for own, shared in zip(task.own, task.multi, strict=True)])


def _answer(gains: Sequence[tuple[Judged, Interval]]) -> str:
    of = {kind: [task.name for task, gain in gains if gain.verdict == kind] for kind in _SAID}
    said = [f"{listed(of[kind])} {verb(of[kind], *_SAID[kind])}" for kind in ("gains", "loses") if of[kind]]
    if rest := of["no evidence"]:
        start = "for" if said else "For"
        said.append(f"{start} {listed(rest)} there is no evidence either way: sharing all is the simpler choice")
    return f"{'; '.join(said)}."


_SAID = {
    "gains": ("gains by going on alone", "gain by going on alone"),
    "loses": ("loses by going on alone", "lose by going on alone"),
    "no evidence": ("", ""),
}


def _evidence(task: Judged, gain: Interval) -> str:
    bounds = [*gain.record().values()]
    said = {"gains": "better than the shared network", "loses": "worse than the shared network"}
    turned = "" if task.sign > 0 else ", counted so that higher is better"
    return f"{task.name}: {OWN} minus shared, {task.metric}{turned}: {interval(bounds)}: {said.get(gain.verdict, 'no evidence either way')}."


def _sizes(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    sizes = {arm: of["parameters"] for arm, of in costs.items() if known(of.get("parameters"))}
    if not sizes:
        return []
    told = ", ".join(f"{arm} {counted(size, 'parameter')}" for arm, size in sizes.items())
    alone, shared = sizes.get(SINGLE), sizes.get(SHARED)
    share = (
        f" One network has {percent(shared / alone)} of what all single-task networks have." if alone and shared else ""
    )
    return [f"Sizes: {told}.{share}"]


def _times(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    told = [f"{arm} {number(of['seconds'])} s" for arm, of in costs.items() if known(of.get("seconds"))]
    return [f"Training took: {', '.join(told)}."] if told else []


def _work(levels: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how much of the encoder each task needs, from the bottom up."""
    done, lines = 0.0, []
    for level in levels:
        done += level.get("share") or 0.0
        if names := level.get("tasks"):
            needs = f"{listed(names)} {verb(names, 'needs', 'need')} {percent(done)} of the encoder's work"
            lines.append(f"{needs} (up to level {level.get('name')}).")
    return lines
