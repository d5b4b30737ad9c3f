"""Whether a score has dropped by more than it wavers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, linear_regression, median
from typing import Any, NamedTuple

from .._checks import require

LEAST = 6  # evaluations before the first two that are judged
FEWEST = LEAST + 2
"""Evaluations until there can be an alarm."""
LEVEL = 8  # evaluations whose mean is a level
KEPT = 48  # evaluations that say how much the score wavers
APART = 6  # of two evaluations that are compared for that, at most
MANY, GROWTH = 50, 0.2  # tolerances grow after so many evaluations
ROUNDING = 1e-6  # of float32 figures
FEW_ROWS = 2.5  # so many rows say nothing: two that are wrong now and then


class Bounds(NamedTuple):
    """What is too much, in noises: a drop of one evaluation; of two on average, and of each of them; and how much larger these are at first."""

    at_once: float
    together: float
    each: float
    few: float


CAREFUL = Bounds(at_once=5.0, together=2.35, each=1.9, few=6.0)
KNOWN = Bounds(at_once=4.6, together=2.3, each=1.0, few=0.0)


@dataclass(frozen=True)
class Drop:
    """Tell what raised an alarm.

    Args:
        drop: How far the score lies below the level: the latest one, or the mean of the latest two.
        tolerance: The largest drop that would have been taken for chance.
        level: The highest that the smoothed score has been.
    """

    drop: float
    tolerance: float
    level: float


class DropAlarm:
    """Warn when a score has dropped from its best level by more than chance explains.

    Evaluations waver, so a bare threshold warns of nothing or all the time. Here the trace itself says how much it wavers: by the differences of
    evaluations at most six apart (their root mean square, cut at four times what their median makes likely; about the trace's slope, if that leaves
    less), since the score first reached its present median; what was before is learning. The level is the highest mean of eight successive
    evaluations. An alarm is raised at once by one evaluation five noises below the level, else by two in a row, 2.35 noises below it on average and 1.9
    each. With few evaluations the noise is known badly, so that these bounds are 1 + 6 / n times as large; eight evaluations must have been seen. After
    50 they grow by 0.2 ln(n / 50), since who looks more often sees more chance.

    Once it has warned, it is silent until two evaluations in a row are back within the tolerance that each of two has. It warns again after that.

    Measured on 4,000 traces of 50 evaluations: of noise alone 7% raise an alarm if it is Gaussian (at most 12% of any 200 traces, in 99 of 100
    cases), 9% if it is that of an accuracy of 0.85 or 0.95 of 200 rows (near 0.99, 0.995 and 0.999 13, 11 and 4% where `update` is told the rows, and
    15, 18 and 52% where it is not), 12% if it is Student's t with 5 degrees; of Gaussian traces of 100, 200 and 500 evaluations 15%, 23% and 30%.
    Noise is what differs from one evaluation to the next: a score that wanders is judged for where it goes, and where half of each deviation is left
    at the next evaluation, 49% of traces raise an alarm (a quarter: 22%); `tolerance` says how much of that matters. A drop of three standard
    deviations that comes at a place drawn from evaluations 16 to 46 and lasts is found by the first evaluation that has it in 6% of cases, by the
    second in 70%, the third in 79%, the fourth in 86%; one of four in 16%, 93%, 96% and 98%. More cannot be had at once where the noise must be
    estimated: a t-test that takes for granted that all before was one level finds 86% of drops of three by the second evaluation if 10% of false
    alarms are granted, and one that is told level and noise 94%. While a score still rises, its level lags behind, and drops are found later.

    Where the noise is given, the bounds are 4.6, 2.3 and 1 of it from the first: the second evaluation finds 92% of drops of three standard
    deviations (the first 29%), and of Gaussian noise alone 23% of traces of 50 evaluations raise an alarm (at most 30% of any 200, in 99 of 100 cases).

    Args:
        tolerance: The least drop that matters, in units of the score; 0 for whatever is more than chance. A score that
            never wavered warns of any drop beyond rounding, or, where `update` is told its rows, of what three rows make.
        noise: The standard deviation of the score, if it is known, in units of the score. Default: as the trace tells it.

    Raises:
        ValueError: A tolerance below 0, a noise that is not above 0, or one of them not finite.

    Example:
        >>> alarm = DropAlarm()
        >>> trace = [0.90, 0.91, 0.89, 0.90, 0.92, 0.90, 0.91, 0.89, 0.90, 0.70, 0.71]
        >>> [round(drop.drop, 2) for drop in map(alarm.update, trace) if drop]
        [0.2]
    """

    def __init__(self, tolerance: float = 0.0, *, noise: float | None = None) -> None:
        require(0 <= tolerance < math.inf, "tolerance", "finite and at least 0", tolerance, "0 counts every drop.")
        fits = noise is None or 0 < noise < math.inf
        require(fits, "noise", "finite and above 0", noise, "Leave it out for what the trace tells.")
        self.tolerance, self.noise = tolerance, noise
        self._bounds = CAREFUL if noise is None else KNOWN
        self._seen = 0
        self._past: list[float] = []
        self._last: list[float] = []  # two, which are judged
        self._best = -math.inf
        self._bar: float | None = None  # while silent: what the score must be back to

    def update(self, score: float, rows: int | None = None) -> Drop | None:
        """Take in the latest score, and say whether it raises an alarm.

        Args:
            score: Higher is better. One that is not finite is passed over.
            rows: How many rows it is a mean over, if it is known: where the trace has few values, as accuracies near 1 have, what two rows make of it is
                then no drop.
        """
        if not math.isfinite(score):
            return None
        self._seen += 1
        self._last.append(float(score))
        if self._bar is None:  # what is seen while silent tells nothing of the noise
            self._past = [*self._past, *self._last[:-2]][-KEPT:]
        self._last = self._last[-2:]
        if self._bar is None:
            return self._judged(rows) if len(self._past) >= LEAST else None
        if len(self._last) == 2 and min(self._last) >= self._bar:
            self._bar = None
        return None

    def state_dict(self) -> dict[str, Any]:
        """Give what it knows of the trace, as plain data."""
        best = self._best if math.isfinite(self._best) else None
        known = {"seen": self._seen, "past": list(self._past), "last": list(self._last)}
        return {**known, "best": best, "bar": self._bar}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._seen, self._past, self._last = state["seen"], list(state["past"]), list(state["last"])
        self._best = -math.inf if state["best"] is None else state["best"]
        self._bar = state["bar"]

    def _judged(self, rows: int | None) -> Drop | None:
        self._best = max(self._best, fmean(self._past[-LEVEL:]))
        counts = rows if self.noise is None and coarse(self._past) else None
        share = max(FEW_ROWS / counts, ROUNDING) if counts else ROUNDING
        least, unit = max(self.tolerance, share * abs(self._best)), self._unit()
        at_once, together, each = (max(factor * unit, least) for factor in self._bounds[:3])
        drops = [self._best - score for score in self._last]
        found: Drop | None = None
        if drops[-1] > at_once:
            found = Drop(drops[-1], at_once, self._best)
        elif min(drops) > each and fmean(drops) > together:
            found = Drop(fmean(drops), together, self._best)
        if found:
            self._bar, self._last = self._best - each, []
        return found

    def _unit(self) -> float:
        """Estimate the noise, enlarged by how little is known of it, and by how often was looked."""
        often = 1 + GROWTH * math.log(max(self._seen / MANY, 1))
        if self.noise is not None:
            return self.noise * often
        present = median(self._past[-LEVEL:])
        plateau = self._past[next(i for i, score in enumerate(self._past) if score >= present) :]
        return waver(plateau) * (1 + self._bounds.few / len(plateau)) * often


def waver(scores: list[float]) -> float:
    """Estimate the standard deviation of a trace about its level, whatever trend or few jumps there are."""
    if len(scores) < 4 or coarse(scores):  # there every step would look like noise beside a slope
        return _spread(scores)
    slope = linear_regression(range(len(scores)), scores).slope
    flat = [score - slope * i for i, score in enumerate(scores)]
    lost = math.sqrt((len(scores) - 1) / (len(scores) - 2))  # of the differences, to the slope
    return min(_spread(scores), lost * _spread(flat))  # a jump makes a slope that is none


def coarse(scores: list[float]) -> bool:
    """Say whether a trace has few values, as accuracies of few rows, or near 1, have."""
    return 2 * len(set(scores)) <= len(scores)


def _spread(scores: list[float]) -> float:
    """Estimate the standard deviation by the differences of scores at most six apart."""
    steps = [abs(b - a) for apart in range(1, APART + 1) for a, b in zip(scores, scores[apart:], strict=False)]
    moved = [step for step in steps if step]  # of figures with few values, such as accuracies, most may be zero
    if not moved:
        return 0.0
    cut = 4 * 1.4826 * median(moved)  # 1.4826 medians are a standard deviation where noise is Gaussian
    return math.sqrt(fmean(min(step, cut) ** 2 for step in steps) / 2)
