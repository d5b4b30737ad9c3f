"""The answer to: which tasks belong together?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from math import sqrt
from statistics import NormalDist
from typing import Any

from ...comparison import t_quantile
from ._finding import Finding
from ._run import Run, read_matrix
from ._words import counted, known, listed, number, percent, verb

QUESTION = "Which tasks belong together?"
_MISSING = (
    "Not measured: add `TransferMonitor` (what one task's update does to the loss of another) or `ConflictMonitor`."
)
_WHERE = ("relations",)
_NONE = "There is no evidence that any task helps or hurts another"


@dataclass(frozen=True)
class Effect:
    """The effect of an update for one task on the loss of another, with an interval."""

    by: str
    to: str
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the effect as a sentence."""
        does = "helps" if self.mean > 0 else "hurts"
        return f"{self.by} {does} {self.to}: affinity {percent(self.mean, True)} [{percent(self.low, True)}, {percent(self.high, True)}]"


def relations(runs: Sequence[Run]) -> Finding:
    """Answer from the affinity of tasks, and from conflicts of their gradients."""
    transfer = next((run.monitor("TransferMonitor") for run in runs if run.monitor("TransferMonitor")), None)
    conflict = next((run.monitor("ConflictMonitor") for run in runs if run.monitor("ConflictMonitor")), None)
    against = _conflicts(conflict) if conflict else []
    if transfer is None:
        if conflict is None:
            return Finding(QUESTION, _MISSING, "missing")
        answer = f"{_of_conflicts(against)} Whether they help each other is not measured: add `TransferMonitor`."
        return Finding(QUESTION, answer, "open", (*against, *_caveat(conflict)), _WHERE)
    found = effects(transfer)
    if not found:
        answer = f"Not measured: {counted(transfer.get('probes'), 'probe')} of a pair of tasks gave no interval, which takes two. Lower `every` of `TransferMonitor`."
        return Finding(QUESTION, answer, "missing", (*against, *_caveat(conflict)), _WHERE)
    clear = [effect for effect in found if effect.low > 0 or effect.high < 0]
    evidence = [str(effect) + "." for effect in sorted(clear, key=lambda effect: -abs(effect.mean))]
    evidence += [*_groups(transfer, clear), *against, _method(transfer, len(found)), *_caveat(conflict)]
    tone = "open" if not clear else "bad" if any(effect.mean < 0 for effect in clear) else "good"
    return Finding(QUESTION, _answer(clear, len(found)), tone, tuple(evidence), _WHERE)  # type: ignore[arg-type]


def effects(transfer: dict[str, Any]) -> list[Effect]:
    """Return the effects with known errors; all intervals hold at once at 95% (Student's t, Bonferroni), if measurements are independent."""
    names = transfer.get("tasks") or []
    means, errors, counts = (read_matrix(transfer.get(key), len(names)) for key in ("affinity", "error", "looks"))
    pairs = [
        (i, j)
        for i, j in permutations(range(len(names)), 2)
        if known(means[i][j], errors[i][j]) and (counts[i][j] or 0) > 1
    ]
    return [
        Effect(names[i], names[j], mean, mean - half, mean + half)
        for i, j in pairs
        for mean, error, count in [(means[i][j] or 0.0, errors[i][j] or 0.0, int(counts[i][j] or 0))]
        for half in [error * t_quantile(count - 1, 0.025 / len(pairs))]
    ]


def _answer(clear: Sequence[Effect], looked: int) -> str:
    helping = {(effect.by, effect.to) for effect in clear if effect.mean > 0}
    hurting = {(effect.by, effect.to) for effect in clear if effect.mean < 0}
    both = [(a, b) for a, b in sorted(helping) if a < b and (b, a) in helping]
    one_way = sorted(pair for pair in helping if tuple(sorted(pair)) not in both)
    parts = [f"{a} and {b} help each other" for a, b in both]
    parts += [f"{a} helps {b}" for a, b in one_way] + [f"{a} hurts {b}" for a, b in sorted(hurting)]
    if not parts:
        return f"{_NONE} ({looked} directions looked at)."
    rest = " For the other directions there is no evidence either way." if len(clear) < looked else ""
    return f"{'; '.join(parts)}.{rest}"


def _groups(transfer: dict[str, Any], clear: Sequence[Effect]) -> list[str]:
    groups = transfer.get("groups") or {}
    weak = "" if clear else ", though no effect is beyond chance"
    return [
        f"A split into {count} that affinity suggests{weak}: {' | '.join(listed(group) for group in groups[count])}."
        for count in sorted(groups, key=int)
        if groups[count]
    ]


def _method(transfer: dict[str, Any], looked: int) -> str:
    return (
        f"Affinity is the share of a task's loss that one update of another takes away, over {counted(transfer.get('probes'), 'probe')} of this run; "
        f"intervals hold for all {looked} directions at once (95%), as far as the probes of one run are independent of each other. It suggests who belongs together; a "
        "comparison shows it."
    )


def _conflicts(conflict: dict[str, Any]) -> list[str]:
    names = conflict.get("tasks") or []
    size = len(names)
    rates, counts, cosines = (read_matrix(conflict.get(key), size) for key in ("conflict_rate", "looks", "cosine"))
    tail = 0.025 / max(sum(bool(counts[i][j]) for i, j in combinations(range(size), 2)), 1)
    return [
        f"The gradients of {names[i]} and {names[j]} point apart more often than not: in {percent(rate)} [{percent(low)}, {percent(high)}] "
        f"of {count:,.0f} looks, mean cosine {number(cosines[i][j], sign=True)}."
        for i, j in combinations(range(size), 2)
        for rate, count in [(rates[i][j], counts[i][j])]
        if rate is not None and count
        for low, high in [wilson(rate, count, tail)]
        if low > 0.5
    ]


def wilson(rate: float, count: int | float, tail: float = 0.025) -> tuple[float, float]:
    """Return the confidence interval of a share with the probability `tail` outside on each side (Wilson, 1927)."""
    z = NormalDist().inv_cdf(1 - tail)
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return middle - half, middle + half


def _of_conflicts(against: Sequence[str]) -> str:
    if not against:
        return "There is no evidence that two tasks point apart more often than not."
    return f"{counted(len(against), 'pair')} {verb(against, 'points', 'point')} apart more often than not."


def _caveat(conflict: dict[str, Any] | None) -> list[str]:
    if not conflict:
        return []
    return [
        "Gradients that point apart do not by themselves say which task loses by it. Pairs are named where that holds for all of them at once (95%), "
        "as far as the looks of one run are independent of each other."
    ]
