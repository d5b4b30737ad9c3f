"""The answer to: does each task gain or lose by sharing?"""

from __future__ import annotations

from ._arms import ComparedArms, ComparedTask, mean_of
from ._finding import Finding
from ._words import counted, interval, known, listed, number, verb

QUESTION = "Does each task gain or lose by sharing?"
_MISSING = "Not measured: train each task alone too, with `compare` or a recipe's command line, over several seeds."
_HOW = "Intervals are 95% intervals (Student's t) of differences between runs of the same seed, one task at a time."


def gains(comparison: ComparedArms | None) -> Finding:
    """Answer from a comparison of one network with its single-task twins."""
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


def _answer(comparison: ComparedArms, by: str) -> str:
    of = comparison.verdicts()
    parts = [
        f"{listed(of[verdict])} {verb(of[verdict], verdict, verdict.removesuffix('s'))} by {by}"
        for verdict in ("gains", "loses")
        if of[verdict]
    ]
    if of["no evidence"]:
        parts.append(f"{'for' if parts else 'For'} {listed(of['no evidence'])} there is no evidence either way")
    return f"{'; '.join(parts)}."


def _evidence(task: ComparedTask, comparison: ComparedArms) -> str:
    arms = zip(comparison.arms, (task.single, task.multi), strict=True)
    means = ", ".join(f"{number(mean_of(values))} {arm}" for arm, values in arms)
    return (
        f"{task.name}: {task.metric} ({task.better} is better) {means}; difference {interval(task.difference)} over "
        f"{counted(comparison.seeds, 'seed')}: {_verdict(task.verdict)}."
    )


def _mean(comparison: ComparedArms) -> list[str]:
    mean, low, high = comparison.delta
    if not known(mean):
        return []
    verdict = "gains" if low is not None and low > 0 else "loses" if high is not None and high < 0 else "no evidence"
    words = {"gains": "tasks gain on average", "loses": "tasks lose on average"}.get(verdict, _verdict(verdict))
    return [f"Mean over the tasks, in percent (delta_m): {interval(comparison.delta)}: {words}."]


def _verdict(verdict: str) -> str:
    return "no evidence either way" if verdict == "no evidence" else verdict
