"""The result of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from .._table import table
from ..writing import write_csv
from ._cost import ArmCost, cost_table
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
        """Mean over the tasks of the relative gain, in percent (Maninis et al., CVPR 2019, eq. 4)."""
        return Interval.of([fmean(gains) for gains in zip(*(task.relative() for task in self.tasks), strict=True)])

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
        lines = [f"delta_m in percent {self.delta_m}, paired seeds: {len(self.seeds)}"]
        if self.staged is not None:
            lines.append(f"delta_m of the two-stage arm in percent {self.staged.delta_m}")
        if self.cached is not None:
            lines.append(f"twins read from the cache: {self.cached} of {len(self.tasks) * len(self.seeds)}")
        if self.costs is not None:
            lines += ["", cost_table(self.costs)]
        elif self.sizes is not None:
            lines.append(f"parameters: {self.arms[0]} {self.sizes[0]:,}, {self.arms[1]} {self.sizes[1]:,}")
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
            "two_stage_delta_m": None if staged is None else _with_verdict(staged),
            "cached": self.cached,
            "costs": None if self.costs is None else {arm: of.record() for arm, of in self.costs.items()},
        }

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each task, and one for `delta_m`."""
        arms = ("single", "multi") if self.arms[1] == ALL else self.arms
        header = ["task", "metric", *arms, "difference", "low", "high", self._verdict_header, "seeds"]
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
        return ["delta_m", "percent", "", "", d.mean, d.low, d.high, d.verdict, len(self.seeds)]

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
