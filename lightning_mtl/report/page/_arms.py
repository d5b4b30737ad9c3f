"""A comparison, read from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ._words import known

SINGLE, SHARED, OWN = "single-task", "multi-task", "two-stage"
"""Names of the arms: a network for each task, one network for all, and that network trained further on each task alone."""
Bounds = tuple[float | None, float | None, float | None]
"""A mean and its interval."""


@dataclass(frozen=True)
class ComparedTask:
    """A task in the arms of a comparison; arms that were not tried have no values."""

    name: str
    metric: str
    sign: int
    single: tuple[float, ...]
    multi: tuple[float, ...]
    own: tuple[float, ...]
    difference: Bounds
    verdict: str

    @property
    def better(self) -> str:
        """Which direction of the metric is better."""
        return "higher" if self.sign > 0 else "lower"


@dataclass(frozen=True)
class ComparedArms:
    """The two arms of a comparison, over seeds."""

    seeds: int
    arms: tuple[str, str]
    tasks: tuple[ComparedTask, ...]
    delta: Bounds
    costs: Mapping[str, Mapping[str, Any]]

    @property
    def of_sharing(self) -> bool:
        """Whether one network is compared with its single-task twins."""
        return self.arms[1] == SHARED

    def verdicts(self) -> dict[str, list[str]]:
        """Return the names of the tasks of each verdict."""
        found: dict[str, list[str]] = {"gains": [], "loses": [], "no evidence": []}
        for task in self.tasks:
            found.setdefault(task.verdict, []).append(task.name)
        return found


def read_comparison(record: Mapping[str, Any] | None) -> ComparedArms | None:
    """Read the record of a comparison, from which anything may be missing; None without tasks."""
    if not record or not record.get("tasks"):
        return None
    arms = [*(record.get("arms") or ()), SINGLE, SHARED] if len(record.get("arms") or ()) < 2 else record["arms"]
    tasks = tuple(_read_task(task) for task in record["tasks"])
    delta = _read_bounds(record.get("delta_m"))
    return ComparedArms(len(record.get("seeds") or ()), (arms[0], arms[1]), tasks, delta, record.get("costs") or {})


def _read_task(task: Mapping[str, Any]) -> ComparedTask:
    single, multi, own = (_numbers(task.get(arm)) for arm in ("single", "multi", "two_stage"))
    return ComparedTask(
        str(task["task"]),
        str(task.get("metric") or "score"),
        -1 if (task.get("sign") or 1) < 0 else 1,
        single,
        multi,
        own,
        _read_bounds(task.get("difference")),
        str(task.get("verdict") or "no evidence"),
    )


def _numbers(values: Sequence[float | None] | None) -> tuple[float, ...]:
    """Return the values of an arm; none where one is missing, since seeds are paired."""
    return tuple(float(value) for value in values if value is not None) if values and known(*values) else ()


def _read_bounds(given: Mapping[str, float | None] | None) -> Bounds:
    """Read a mean and its interval."""
    mean, low, high = (None if given is None else given.get(name) for name in ("mean", "low", "high"))
    return mean, low, high


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean; None without values."""
    return fmean(values) if values else None
