"""What a comparison found."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ._cost import ArmCost, cost_table
from ._interval import Interval
from ._table import table
from ._task_comparison import TaskComparison

ALL = "multi-task"
"""Name of the run that trains all tasks."""


@dataclass(frozen=True)
class Comparison:
    """What `compare` or `compare_arms` found; `str()` of it is the table."""

    seeds: tuple[int, ...]
    tasks: tuple[TaskComparison, ...]
    arms: tuple[str, str] = ("single-task", ALL)
    sizes: tuple[int, int] | None = None
    """How many parameters the networks have, where each arm is one."""
    costs: Mapping[str, ArmCost] | None = None
    """What each arm took; None where networks were trained in processes that the Trainer started for it alone."""

    @property
    def delta_m(self) -> Interval:
        """Mean over the tasks of the relative gain, in percent (Maninis et al., CVPR 2019, eq. 4)."""
        return Interval.of([fmean(gains) for gains in zip(*(task.relative() for task in self.tasks), strict=True)])

    def __str__(self) -> str:
        header = ("task", "metric", *self.arms, "difference [95% interval]", self._judged)
        rows = [
            (t.task, t.metric, f"{fmean(t.single):.4f}", f"{fmean(t.multi):.4f}", str(t.difference), t.verdict)
            for t in self.tasks
        ]
        delta = self.delta_m
        closing = f"delta_m in percent {delta}, paired seeds: {len(self.seeds)}"
        if self.costs is not None:
            closing += f"\n\n{cost_table(self.costs)}"
        elif self.sizes is not None:
            closing += f"\nparameters: {self.arms[0]} {self.sizes[0]:,}, {self.arms[1]} {self.sizes[1]:,}"
        return f"{table(header, rows)}\n{closing}"

    @property
    def _judged(self) -> str:
        return "sharing" if self.arms[1] == ALL else self.arms[1]

    def record(self) -> dict[str, Any]:
        """Give it as plain data (JSON), e.g. for a report; what is not finite is None."""
        delta = self.delta_m
        return {
            "seeds": list(self.seeds),
            "arms": list(self.arms),
            "tasks": [task.record() for task in self.tasks],
            "delta_m": {**delta.record(), "verdict": delta.verdict},
            "costs": None if self.costs is None else {arm: of.record() for arm, of in self.costs.items()},
        }

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each task, and one for `delta_m`."""
        with Path(path).open("w", newline="") as file:
            write = csv.writer(file)
            arms = ("single", "multi") if self.arms[1] == ALL else self.arms
            write.writerow(("task", "metric", *arms, "difference", "low", "high", self._judged, "seeds"))
            for t in self.tasks:
                d = t.difference
                row = (t.task, t.metric, fmean(t.single), fmean(t.multi), d.mean, d.low, d.high, t.verdict)
                write.writerow((*row, len(self.seeds)))
            d = self.delta_m
            write.writerow(("delta_m", "percent", "", "", d.mean, d.low, d.high, d.verdict, len(self.seeds)))

    def plot(self, path: str | Path) -> None:
        """Draw both arms of each task, a line for each seed, as a PNG. Needs the extra `recipes`.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("A plot needs matplotlib: pip install 'lightning-mtl[recipes]'") from error
        figure = Figure(figsize=(2.8 * len(self.tasks) + 0.6, 3.6), layout="constrained")
        for axes, t in zip(figure.subplots(1, len(self.tasks), squeeze=False)[0], self.tasks, strict=True):
            for pair in zip(t.single, t.multi, strict=True):
                axes.plot((0, 1), pair, color="#0072B2", alpha=0.35, marker="o", markersize=4, linewidth=1)
            axes.plot((0, 1), (fmean(t.single), fmean(t.multi)), color="#D55E00", marker="D", linewidth=2.5)
            axes.set_xticks((0, 1), self.arms)
            axes.set_xlim(-0.35, 1.35)
            axes.set_title(f"{t.task}: {t.verdict}\n{t.difference}", fontsize=9)
            axes.set_ylabel(f"{t.metric} ({'higher' if t.sign > 0 else 'lower'} is better)", fontsize=9)
            axes.tick_params(labelsize=8)
        figure.suptitle(f"delta_m in percent: {self.delta_m}", fontsize=11)
        figure.supxlabel(f"thin: each of {len(self.seeds)} seeds; thick: their mean", fontsize=8)
        figure.savefig(path, dpi=150)
