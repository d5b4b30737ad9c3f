"""Does each task gain or lose by sharing?"""

from __future__ import annotations

from ._compared import Compared, Judged, mean_of
from ._finding import Finding
from ._words import counted, interval, known, listed, number, verb

QUESTION = "Does each task gain or lose by sharing?"
_MISSING = "Not measured: train each task alone too, with `compare` or a recipe's command line, over several seeds."
_HOW = "Intervals are 95% intervals (Student's t) of differences between runs of the same seed, one task at a time."


def gains(comparison: Compared | None) -> Finding:
    """Answer by a comparison of one network with its single-task twins."""
    if comparison is None:
        return Finding(QUESTION, _MISSING, "missing")
    evidence = (*(_evidence(task, comparison) for task in comparison.tasks), *_mean(comparison), _HOW)
    where = ("comparison",)
    if not comparison.of_sharing:
        first, second = comparison.arms
        answer = f"Not measured: {first} and {second} were compared, both for all tasks. {_answer(comparison, second)}"
        return Finding(QUESTION, answer, "missing", evidence, where)
    of = comparison.verdicts()
    tone = "bad" if of["loses"] else "good" if of["gains"] else "open"
    return Finding(QUESTION, _answer(comparison, "sharing"), tone, evidence, where)  # type: ignore[arg-type]


def _answer(comparison: Compared, by: str) -> str:
    of = comparison.verdicts()
    said = [
        f"{listed(of[verdict])} {verb(of[verdict], verdict, verdict.removesuffix('s'))} by {by}"
        for verdict in ("gains", "loses")
        if of[verdict]
    ]
    if of["no evidence"]:
        said.append(f"{'for' if said else 'For'} {listed(of['no evidence'])} there is no evidence either way")
    return f"{'; '.join(said)}."


def _evidence(task: Judged, comparison: Compared) -> str:
    arms = zip(comparison.arms, (task.single, task.multi), strict=True)
    means = ", ".join(f"{number(mean_of(values))} {arm}" for arm, values in arms)
    return (
        f"{task.name}: {task.metric} ({task.better} is better) {means}; difference {interval(task.difference)} over "
        f"{counted(comparison.seeds, 'seed')}: {_verdict(task.verdict)}."
    )


def _mean(comparison: Compared) -> list[str]:
    mean, low, high = comparison.delta
    if not known(mean):
        return []
    judged = "gains" if low is not None and low > 0 else "loses" if high is not None and high < 0 else "no evidence"
    said = {"gains": "tasks gain on average", "loses": "tasks lose on average"}.get(judged, _verdict(judged))
    return [f"Mean over the tasks, in percent (delta_m): {interval(comparison.delta)}: {said}."]


def _verdict(verdict: str) -> str:
    return "no evidence either way" if verdict == "no evidence" else verdict
