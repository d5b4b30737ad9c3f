"""How one task did in the arms of a comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ._interval import Interval, finite


@dataclass(frozen=True)
class TaskComparison:
    """A task's metric in both arms, in the same order of seeds; `sign` is 1 where higher is better, else -1.

    Of two networks for all tasks, `single` is that of the first arm, and `multi` of the second.
    """

    task: str
    metric: str
    sign: int
    single: tuple[float, ...]
    multi: tuple[float, ...]

    @property
    def difference(self) -> Interval:
        """Multi-task minus single-task, or the second arm minus the first, in the metric's own unit and direction."""
        return Interval.of([m - s for m, s in zip(self.multi, self.single, strict=True)])

    @property
    def verdict(self) -> str:
        """Whether the task gains or loses by sharing, or there is no evidence either way."""
        gain = Interval.of([self.sign * (m - s) for m, s in zip(self.multi, self.single, strict=True)])
        return gain.verdict

    def relative(self) -> list[float]:
        """Gain of each seed in percent of the single-task value; NaN where that is 0."""
        pairs = zip(self.multi, self.single, strict=True)
        return [100 * self.sign * (m - s) / abs(s) if s else math.nan for m, s in pairs]

    def record(self) -> dict[str, Any]:
        """Give it as plain data, values seed by seed; what is not finite is None."""
        return {
            "task": self.task,
            "metric": self.metric,
            "sign": self.sign,
            "single": [finite(value) for value in self.single],
            "multi": [finite(value) for value in self.multi],
            **self.difference.record("difference"),
            "verdict": self.verdict,
        }
