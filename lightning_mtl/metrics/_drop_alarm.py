"""An alarm for scores that drop by more than noise explains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, linear_regression, median
from typing import Any, NamedTuple

from .._checks import require_number

LEAST_PAST = 6  # evaluations before the first two that can raise an alarm
FEWEST = LEAST_PAST + 2
"""Evaluations until there can be an alarm."""
LEVEL = 8  # evaluations whose mean is a level
KEPT = 48  # evaluations from which the noise is estimated
LARGEST_LAG = 6  # between two evaluations that are compared for that
MANY, GROWTH = 50, 0.2  # after MANY evaluations the tolerances grow
ROUNDING = 1e-6  # relative error of float32 scores
FEW_ROWS = 2.5  # a change of so few rows is no drop


class Bounds(NamedTuple):
    """Largest drops that are taken for chance, in standard deviations of the noise.

    `at_once` is for one evaluation; `together` for the mean of two, and `each` for each of the two. With n evaluations, an estimated
    noise is multiplied by 1 + `few` / n.
    """

    at_once: float
    together: float
    each: float
    few: float


ESTIMATED_NOISE = Bounds(at_once=5.0, together=2.35, each=1.9, few=6.0)
KNOWN_NOISE = Bounds(at_once=4.6, together=2.3, each=1.0, few=0.0)


@dataclass(frozen=True)
class Drop:
    """The drop that raised an alarm.

    Args:
        drop: How far the latest score, or the mean of the latest two, lies below the level.
        tolerance: The largest drop that would have been taken for chance.
        level: The highest value of the smoothed score so far.
    """

    drop: float
    tolerance: float
    level: float


class DropAlarm:
    """Warn when a score has dropped from its best level by more than chance explains.

    Scores are noisy, so a fixed threshold warns never or all the time. Here the noise is estimated from the trace itself, since the
    score first reached its present median (what came before is learning): it is the root mean square of the differences of
    evaluations at most six apart, clipped at four times the value that their median suggests; it is computed around the
    trace's slope if that gives less. The level is the highest mean of eight successive evaluations. An alarm is raised by one evaluation
    that lies five standard deviations of the noise below the level; or by two in a row, 2.35 below it on average and 1.9 each. With
    n evaluations the estimate is uncertain, so these bounds are multiplied by 1 + 6 / n, and there is no alarm before the eighth.
    After 50 evaluations the bounds grow by 0.2 ln(n / 50), because more tests find more drops by chance.

    After an alarm it is silent until two evaluations in a row are back within the tolerance of each of two. Then it can warn again.

    Measured on 4,000 traces of 50 evaluations, noise alone raises an alarm in 7% of traces if it is Gaussian (at most 12% of any 200
    traces, in 99 of 100 cases); in 9% if it is the noise of an accuracy of 0.85 or 0.95 on 200 rows (near 0.99, 0.995 and 0.999: 13, 11
    and 4% if `update` gets `rows`, and 15, 18 and 52% if not); in 12% if it is Student's t with 5 degrees of freedom. Of Gaussian
    traces of 100, 200 and 500 evaluations it is 15%, 23% and 30%. Noise is what differs from one evaluation to the next. If deviations
    are correlated, so that half of each remains at the next evaluation, 49% of traces raise an alarm (a quarter: 22%); `tolerance` says
    which drops matter. A lasting drop of three standard deviations, at a random place from evaluation 16 to 46, is found at its first
    evaluation in 6% of cases, up to the second in 70%, the third in 79%, the fourth in 86%; a drop of four in 16%, 93%, 96% and 98%.
    With estimated noise a test can hardly do better: a t-test that assumes that everything before was one level finds 86% of
    drops of three by the second evaluation, with 10% false alarms; one that knows level and noise finds 94%. While a score still
    rises, its level lags behind, and drops are found later.

    If the noise is given, the bounds are 4.6, 2.3 and 1 standard deviations from the start. Then the second evaluation finds 92% of
    drops of three standard deviations (the first 29%), and Gaussian noise alone raises an alarm in 23% of traces of 50 evaluations
    (at most 30% of any 200, in 99 of 100 cases).

    Args:
        tolerance: The smallest drop that matters, in units of the score; 0 for every drop beyond chance. A score without noise
            raises an alarm at any drop beyond rounding, or, if `update` gets `rows`, at a drop of three rows.
        noise: Standard deviation of the score, if it is known, in units of the score. Default: estimated from the trace.

    Raises:
        ValueError: `tolerance` is below 0, `noise` is not above 0, or one of them is not finite.

    Example:
        >>> alarm = DropAlarm()
        >>> trace = [0.90, 0.91, 0.89, 0.90, 0.92, 0.90, 0.91, 0.89, 0.90, 0.70, 0.71]
        >>> [round(drop.drop, 2) for drop in map(alarm.update, trace) if drop]
        [0.2]
    """

    def __init__(self, tolerance: float = 0.0, *, noise: float | None = None) -> None:
        require_number("tolerance", tolerance, "0 counts every drop.", at_least=0)
        require_number("noise", noise, "Leave it out to have it estimated.", above=0, optional=True)
        self.tolerance, self.noise = tolerance, noise
        self._bounds = ESTIMATED_NOISE if noise is None else KNOWN_NOISE
        self._seen = 0
        self._past: list[float] = []
        self._last: list[float] = []  # the latest two, which can raise an alarm
        self._best = -math.inf
        self._bar: float | None = None  # while silent: the score that ends the silence

    def update(self, score: float, rows: int | None = None) -> Drop | None:
        """Update with the latest score, and return the drop if it raises an alarm.

        Args:
            score: Higher is better. A score that is not finite is ignored.
            rows: Number of rows that the score is a mean of, if known. If the trace has few distinct values, as accuracies near 1
                have, a change of two rows is then no drop.
        """
        if not math.isfinite(score):
            return None
        self._seen += 1
        self._last.append(float(score))
        if self._bar is None:  # evaluations after an alarm do not count for the noise
            self._past = [*self._past, *self._last[:-2]][-KEPT:]
        self._last = self._last[-2:]
        if self._bar is None:
            return self._find_drop(rows) if len(self._past) >= LEAST_PAST else None
        if len(self._last) == 2 and min(self._last) >= self._bar:
            self._bar = None
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain data."""
        best = self._best if math.isfinite(self._best) else None
        known = {"seen": self._seen, "past": list(self._past), "last": list(self._last)}
        return {**known, "best": best, "bar": self._bar}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self._seen, self._past, self._last = state["seen"], list(state["past"]), list(state["last"])
        self._best = -math.inf if state["best"] is None else state["best"]
        self._bar = state["bar"]

    def _find_drop(self, rows: int | None) -> Drop | None:
        self._best = max(self._best, fmean(self._past[-LEVEL:]))
        counts = rows if self.noise is None and has_few_values(self._past) else None
        share = max(FEW_ROWS / counts, ROUNDING) if counts else ROUNDING
        least, unit = max(self.tolerance, share * abs(self._best)), self._noise_unit()
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

    def _noise_unit(self) -> float:
        """Return the noise, enlarged because it is only estimated, and because many evaluations are tested."""
        growth = 1 + GROWTH * math.log(max(self._seen / MANY, 1))
        if self.noise is not None:
            return self.noise * growth
        present = median(self._past[-LEVEL:])
        plateau = self._past[next(i for i, score in enumerate(self._past) if score >= present) :]
        return estimated_noise(plateau) * (1 + self._bounds.few / len(plateau)) * growth


def estimated_noise(scores: list[float]) -> float:
    """Estimate the standard deviation of a trace around its level, without the effect of a trend or of a few jumps."""
    if len(scores) < 4 or has_few_values(scores):  # with few values, subtracting a slope would turn steps into noise
        return _deviation(scores)
    slope = linear_regression(range(len(scores)), scores).slope
    flat = [score - slope * i for i, score in enumerate(scores)]
    correction = math.sqrt((len(scores) - 1) / (len(scores) - 2))  # the slope takes a degree of freedom
    return min(_deviation(scores), correction * _deviation(flat))  # a jump looks like a slope, but is none


def has_few_values(scores: list[float]) -> bool:
    """Return whether a trace has few distinct values, as accuracies of few rows or near 1 have."""
    return 2 * len(set(scores)) <= len(scores)


def _deviation(scores: list[float]) -> float:
    """Estimate the standard deviation from the differences of scores at most six apart."""
    steps = [abs(b - a) for lag in range(1, LARGEST_LAG + 1) for a, b in zip(scores, scores[lag:], strict=False)]
    nonzero = [step for step in steps if step]  # of scores with few values, such as accuracies, most steps may be zero
    if not nonzero:
        return 0.0
    limit = 4 * 1.4826 * median(nonzero)  # for Gaussian noise, the standard deviation is 1.4826 medians
    return math.sqrt(fmean(min(step, limit) ** 2 for step in steps) / 2)
