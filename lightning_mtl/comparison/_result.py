"""The result of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from .._table import table
from ..writing import write_csv
from ._cost import ArmCost, cost_table, costs_from_records, joined_costs
from ._interval import Interval
from ._plot import plot
from ._task_result import ALL, STAGED, TaskComparison


@dataclass(frozen=True)
class Comparison:
    """The result of `compare` or `compare_arms`; `str()` of it is the table."""

    seeds: tuple[int, ...]
    tasks: tuple[TaskComparison, ...]
    arms: tuple[str, str] = ("single-task", ALL)
    sizes: tuple[int, int] | None = None
    """The number of parameters of each network, where each arm is one network."""
    costs: Mapping[str, ArmCost] | None = None
    """The costs of each arm; None where the Trainer started processes of its own for training."""

    cached: int | None = None
    """How many twins were read from the cache; None without one."""

    @property
    def delta_m(self) -> Interval:
        """Mean over the tasks of the relative gain, in percent (Maninis et al., CVPR 2019, eq. 4).

        A task whose metric the split "test" does not define is left out. The gain of a task whose single-task value is near zero is
        in percent of another scale, see `lightning_mtl.metrics.relative_gains`; the table names both.
        """
        known = [task.relative() for task in self.tasks if task.defined]
        return Interval.of([fmean(gains) for gains in zip(*known, strict=True)] or [math.nan])

    def joined(self, other: Comparison) -> Comparison:
        """Return the comparison over the seeds of both.

        Args:
            other: A comparison of the same networks with other seeds.

        Raises:
            ValueError: It is of other tasks or arms, or has a seed of this one.
        """
        refuse_unlike(self, other)
        tasks = tuple(one.joined(of) for one, of in zip(self.tasks, other.tasks, strict=True))
        costs = None if self.costs is None or other.costs is None else joined_costs(self.costs, other.costs)
        cached = None if other.cached is None else (self.cached or 0) + other.cached
        return replace(self, seeds=self.seeds + other.seeds, tasks=tasks, costs=costs, cached=cached)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Comparison:
        """Return the comparison of which `record` is the record, e.g. to go on with it: `compare(done=...)`.

        Args:
            record: What `record` returned, e.g. read from comparison.json.
        """
        costs = None if record.get("costs") is None else costs_from_records(record["costs"])
        tasks = tuple(TaskComparison.from_record(of) for of in record["tasks"])
        first, second = record["arms"][:2]
        sizes = record.get("sizes")
        return cls(
            tuple(record["seeds"]),
            tasks,
            (first, second),
            None if sizes is None else (sizes[0], sizes[1]),
            costs,
            record.get("cached"),
        )

    @property
    def staged(self) -> Comparison | None:
        """The same with the two-stage arm in place of the multi-task arm, if there is one."""
        tasks = tuple(of for task in self.tasks if (of := task.staged) is not None)
        return replace(self, tasks=tasks, arms=(self.arms[0], STAGED)) if tasks else None

    def __str__(self) -> str:
        header = ["task", "metric", *self.arms, "difference [95% interval]", self._verdict_header]
        rows = [[t.task, t.metric, f"{fmean(t.single):.4f}", *_cells(t)] for t in self.tasks]
        if self.staged is not None:
            header += [STAGED, "difference [95% interval]", "both stages"]
            rows = [row + _cells(of) for row, of in zip(rows, self.staged.tasks, strict=True)]
        return "\n".join([table(header, rows), *self._closing()])

    def _closing(self) -> list[str]:
        lines = [f"delta_m in percent {self.delta_m}, paired seeds: {len(self.seeds)}", *self._of_delta()]
        if self.staged is not None:
            lines.append(f"delta_m of the two-stage arm in percent {self.staged.delta_m}")
        if self.cached is not None:
            lines.append(f"twins read from the cache: {self.cached} of {len(self.tasks) * len(self.seeds)}")
        if self.costs is not None:
            lines += ["", cost_table(self.costs)]
        elif self.sizes is not None:
            lines.append(f"parameters: {self.arms[0]} {self.sizes[0]:,}, {self.arms[1]} {self.sizes[1]:,}")
        return lines

    def _of_delta(self) -> list[str]:
        """Return a line for the tasks that `delta_m` leaves out, and one for those of which it takes another scale."""
        lines = []
        if undefined := [task.task for task in self.tasks if not task.defined]:
            lines.append(f"left out of delta_m: {', '.join(undefined)} (the split 'test' does not define the metric)")
        if rescaled := [task for task in self.tasks if task.rescaled]:
            scales = {True: "distance to the best value", False: "the largest value"}
            told = [f"{task.task} (of {scales[task.best is not None]})" for task in rescaled]
            lines.append(f"in percent of another scale, since {self.arms[0]} is near zero: {', '.join(told)}")
        return lines

    @property
    def _verdict_header(self) -> str:
        return "sharing" if self.arms[1] == ALL else self.arms[1]

    def record(self) -> dict[str, Any]:
        """Return the result as plain data (JSON), e.g. for a report; None for numbers that are not finite."""
        staged = None if self.staged is None else self.staged.delta_m
        return {
            "seeds": list(self.seeds),
            "arms": [*self.arms, *[STAGED] * (staged is not None)],
            "tasks": [task.record() for task in self.tasks],
            "delta_m": _with_verdict(self.delta_m),
            "sizes": None if self.sizes is None else list(self.sizes),
            "two_stage_delta_m": None if staged is None else _with_verdict(staged),
            "cached": self.cached,
            "costs": None if self.costs is None else {arm: of.record() for arm, of in self.costs.items()},
        }

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each task, and one for `delta_m`; the file is whole at any time."""
        arms = ("single", "multi") if self.arms[1] == ALL else self.arms
        verdict = "sharing" if self.arms[1] == ALL else "verdict"
        header = ["task", "metric", *arms, "difference", "low", "high", verdict, "seeds"]
        rows = [self._row(t) for t in self.tasks] + [self._delta_row()]
        if (staged := self.staged) is not None:
            header += [f"two_stage{of}" for of in ("", "_difference", "_low", "_high", "_verdict")]
            beside = [staged._row(t) for t in staged.tasks] + [staged._delta_row()]
            rows = [row + other[3:8] for row, other in zip(rows, beside, strict=True)]
        write_csv(path, [header, *rows])

    def _row(self, t: TaskComparison) -> list[Any]:
        d = t.difference
        return [t.task, t.metric, fmean(t.single), fmean(t.multi), d.mean, d.low, d.high, t.verdict, len(self.seeds)]

    def _delta_row(self) -> list[Any]:
        d = self.delta_m
        name = "delta_m of all tasks" if any(task.task == "delta_m" for task in self.tasks) else "delta_m"
        return [name, "percent", "", "", d.mean, d.low, d.high, d.verdict, len(self.seeds)]

    def plot(self, path: str | Path) -> None:
        """Draw all arms of each task, a line for each seed, as a PNG. Needs the extra `recipes`.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        arms = (*self.arms, *[STAGED] * (self.staged is not None))
        plot(path, self.tasks, arms, f"delta_m in percent: {self.delta_m}")


def _cells(t: TaskComparison) -> list[str]:
    return [f"{fmean(t.multi):.4f}", str(t.difference), t.verdict]


def _with_verdict(of: Interval) -> dict[str, Any]:
    return {**of.record(), "verdict": of.verdict}


def refuse_unlike(one: Comparison, other: Comparison) -> None:
    """Check that two comparisons are of the same tasks and arms, with other seeds.

    Raises:
        ValueError: They are not.
    """
    ours, theirs = ([*of.arms, *((task.task, task.metric) for task in of.tasks)] for of in (one, other))
    if ours != theirs:
        raise ValueError(
            f"`done` must be a comparison of the same networks and tasks, got {ours} where now there are {theirs}. Leave it out."
        )
    if twice := sorted({*one.seeds} & {*other.seeds}):
        raise ValueError(f"`done` must hold other seeds, got {twice} in both. Leave them out.")
