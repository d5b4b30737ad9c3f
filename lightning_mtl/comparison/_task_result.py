"""How one task did in the arms of a comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from .._plain import plain
from ._interval import Interval

ALL = "multi-task"
"""Name of the arm that trains all tasks."""
STAGED = "two-stage"
"""Name of the arm that fine-tunes each task from there."""


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
    two_stage: tuple[float, ...] | None = None
    """After the task was fine-tuned by itself from the network for all tasks."""

    @property
    def staged(self) -> TaskComparison | None:
        """The two-stage arm in the place of the multi-task one, with its own difference and verdict."""
        return None if self.two_stage is None else replace(self, multi=self.two_stage, two_stage=None)

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
        staged = self.staged
        return {
            "task": self.task,
            "metric": self.metric,
            "sign": self.sign,
            "single": plain(self.single),
            "multi": plain(self.multi),
            "two_stage": None if staged is None else plain(staged.multi),
            "difference": self.difference.record(),
            "verdict": self.verdict,
            "two_stage_difference": None
            if staged is None
            else {**staged.difference.record(), "verdict": staged.verdict},
        }
