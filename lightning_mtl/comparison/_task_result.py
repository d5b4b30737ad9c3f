"""The results of one task in the arms of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._plain import plain
from ..metrics import all_finite, near_zero, relative_gains
from ._interval import Interval

ALL = "multi-task"
"""Name of the arm that trains all tasks."""
STAGED = "two-stage"
"""Name of the arm that fine-tunes each task from there."""


@dataclass(frozen=True)
class TaskComparison:
    """A task's metric in both arms, in the same order of seeds; `sign` is 1 where higher is better, else -1.

    Where two networks for all tasks are compared, `single` is the metric in the first arm, and `multi` in the second.
    """

    task: str
    metric: str
    sign: int
    single: tuple[float, ...]
    multi: tuple[float, ...]
    two_stage: tuple[float, ...] | None = None
    """The metric after the task was fine-tuned by itself, from the network for all tasks."""
    best: float | None = None
    """The highest value that the metric can have, where it has one."""

    @property
    def defined(self) -> bool:
        """Whether the metric is a number in each seed; the split "test" may not define it, e.g. R² where all values are alike."""
        return all_finite(self.single, self.multi)

    @property
    def rescaled(self) -> bool:
        """Whether its gain is in percent of another scale than the single-task value, which is near zero."""
        return self.defined and near_zero(self.multi, self.single, self.best)

    @property
    def staged(self) -> TaskComparison | None:
        """The same with the two-stage arm in place of the multi-task arm, so with its difference and verdict."""
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
        """Gain of each seed in percent of the single-task value, or of another scale where that is near zero: see `relative_gains`."""
        return relative_gains(self.multi, self.single, self.sign, self.best)

    def joined(self, other: TaskComparison) -> TaskComparison:
        """Return the results of more seeds together with these.

        Args:
            other: The results of the other seeds.
        """
        staged = (*(self.two_stage or ()), *(other.two_stage or ())) or None
        return replace(self, single=self.single + other.single, multi=self.multi + other.multi, two_stage=staged)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TaskComparison:
        """Return what `record` was made of."""
        arms = {
            arm: None if record.get(arm) is None else _numbers(record[arm]) for arm in ("single", "multi", "two_stage")
        }
        same = {name: record.get(name) for name in ("task", "metric", "sign", "best")}
        return cls(**same, **arms)  # type: ignore[arg-type]

    def record(self) -> dict[str, Any]:
        """Return the values of each seed, differences and verdicts as plain data; None for numbers that are not finite."""
        staged = self.staged
        return {
            "task": self.task,
            "metric": self.metric,
            "sign": self.sign,
            "best": self.best,
            "single": plain(self.single),
            "multi": plain(self.multi),
            "two_stage": None if staged is None else plain(staged.multi),
            "difference": self.difference.record(),
            "verdict": self.verdict,
            "two_stage_difference": None
            if staged is None
            else {**staged.difference.record(), "verdict": staged.verdict},
        }


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)
