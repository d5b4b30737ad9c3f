"""One network against its single-task twins."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import lightning as L
import torch

from ._judging import fit, refuse_once, run_arm, scored
from ._table import table
from .datamodule import MultiTaskDataModule
from .module import MultiTaskModule

ALL = "multi-task"
"""Name of the run that trains all tasks."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, with its 95% interval (Student's t); without one where there is a single seed."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Estimate the mean of paired differences."""
        mean = fmean(values)
        if len(values) < 2:
            return cls(mean, float("-inf"), float("inf"))
        if math.isnan(mean):
            return cls(mean, mean, mean)
        half = t_quantile(len(values) - 1) * stdev(values) / len(values) ** 0.5
        return cls(mean, mean - half, mean + half)

    @property
    def verdict(self) -> str:
        """What the interval allows to say about a difference that is better when it is higher."""
        return "gains" if self.low > 0 else "loses" if self.high < 0 else "no evidence"

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"{self.mean:+.4f} [one seed]"
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


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


@dataclass(frozen=True)
class Comparison:
    """What `compare` or `compare_arms` found; `str()` of it is the table."""

    seeds: tuple[int, ...]
    tasks: tuple[TaskComparison, ...]
    arms: tuple[str, str] = ("single-task", ALL)
    sizes: tuple[int, int] | None = None
    """How many parameters the networks have, where each arm is one."""

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
        if self.sizes is not None:
            closing += f"\nparameters: {self.arms[0]} {self.sizes[0]:,}, {self.arms[1]} {self.sizes[1]:,}"
        return f"{table(header, rows)}\n{closing}"

    @property
    def _judged(self) -> str:
        return "sharing" if self.arms[1] == ALL else self.arms[1]

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


def compare(
    build: Callable[[list[str] | None], MultiTaskModule],
    data: MultiTaskDataModule,
    trainer: Callable[[str], L.Trainer],
    *,
    seeds: Iterable[int] = range(5),
    finish: Callable[[L.Trainer], None] | None = None,
) -> Comparison:
    """Train one network for all tasks and one for each, and test how much each task gains or loses by sharing.

    For every seed the arms get the same data in the same order, the same number of steps, and the same seed. A network is
    tested with the weights of its best checkpoint where its Trainer watches a metric, each arm by its own, and otherwise
    with its last ones.

    Args:
        build: Makes a new module for the tasks with these names; for all of them where it is given none.
        data: The data, with a split "test".
        trainer: Makes a new Trainer for the run of this name, e.g. "multi-task/seed0" or "topic/seed3".
        seeds: The seeds; at least two for an interval, five or more for one that means something.
        finish: Called with each Trainer when its run is over, e.g. to close its logger.

    Returns:
        For each task its first metric on the split "test" in both arms, and `delta_m`.

    Raises:
        ValueError: There is no seed, no task with a metric, or a task's metric is missing from the results.
    """
    chosen = tuple(seeds)
    if not chosen:
        raise ValueError("`seeds` must hold at least one seed, got none.")
    refuse_once(data)

    def whole(run: str) -> L.Trainer:
        made = trainer(run)
        _refuse_part(made, data)
        return made

    own_steps, own_summary, own_columns = data.steps_per_epoch, data.summary, data.not_inputs
    # The targets of the other tasks are no inputs of a twin.
    data.not_inputs = own_columns | {column for task in build(None).tasks for column in task.columns}
    rows: dict[str, TaskComparison] = {}
    try:
        for seed in chosen:
            multi = run_arm(ALL, partial(build, None), data, whole, seed, finish)
            if not multi:
                raise ValueError("`build` must make a module with at least one task that has `metrics`, got none.")
            sampler, reads, data.summary = data.sampler, data.reads(), False
            assert sampler is not None
            for task, (metric, sign, value) in multi.items():
                # A twin takes as many steps as the network for all tasks took with its source.
                data.steps_per_epoch = sampler.steps_with(reads[task])
                single = run_arm(task, partial(build, [task]), data, trainer, seed, finish)[task].value
                before = rows.get(task, TaskComparison(task, metric, sign, (), ()))
                rows[task] = TaskComparison(task, metric, sign, (*before.single, single), (*before.multi, value))
            data.steps_per_epoch = own_steps
    finally:
        data.steps_per_epoch, data.summary, data.not_inputs = own_steps, own_summary, own_columns
    return Comparison(chosen, tuple(rows.values()))


def score(
    build: Callable[[list[str] | None], MultiTaskModule],
    data: MultiTaskDataModule,
    trainer: Callable[[str], L.Trainer],
    *,
    seeds: Iterable[int] = (0,),
    finish: Callable[[L.Trainer], None] | None = None,
    ckpt_path: str | None = None,
) -> float:
    """Train the network for all tasks without its twins, and tell how good it is on the split "validation".

    That is what a sweep maximises. Each network is validated once more when it is trained, with the weights that `compare`
    would test, so that the last `validate/score` in its log is the one that counts.

    Args:
        build: As for `compare`; it is asked for all tasks.
        data: The data, with a split "validation".
        trainer: Makes a new Trainer for the run of this name, e.g. "multi-task/seed0".
        seeds: The seeds, a run for each.
        finish: Called with each Trainer when its run is over.
        ckpt_path: A checkpoint from which the run of a single seed goes on.

    Returns:
        The mean of `validate/score` over the seeds.

    Raises:
        ValueError: There is no seed, or more than one to go on with, or no `validate/score`.
    """
    values, chosen = [], tuple(seeds)
    if ckpt_path is not None and len(chosen) != 1:
        raise ValueError(f"`ckpt_path` must be of the run of one seed, got seeds {list(chosen)}. Name that one.")
    if len(chosen) > 1:
        refuse_once(data)
    for seed in chosen:
        L.seed_everything(seed, verbose=False)
        run, module = trainer(f"{ALL}/seed{seed}"), build(None)
        values.append(scored(run, module, data, fit(run, module, data, ckpt_path)))
        if finish is not None:
            finish(run)
    if not values:
        raise ValueError("`seeds` must hold at least one seed, got none.")
    return fmean(values)


def _refuse_part(trainer: L.Trainer, data: MultiTaskDataModule) -> None:
    """Refuse epochs that end early where sources are drawn: a twin, whose epochs are shorter, would take more steps than its share."""
    early = trainer.limit_train_batches != 1.0 or trainer.max_steps != -1
    if early and data.batches != "all" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise ValueError(
            "`limit_train_batches` and `max_steps` must be left out of a comparison where sources are drawn, got "
            f"{trainer.limit_train_batches} and {trainer.max_steps}. Use MultiTaskDataModule(steps_per_epoch=) and max_epochs."
        )


def t_quantile(degrees: int) -> float:
    """Compute the 97.5% quantile of Student's t, to 1e-4, by summing up its density."""
    x = torch.linspace(0, 13, 400_001, dtype=torch.float64)  # the quantile is 12.71 at one degree, and falls
    density = (1 + x**2 / degrees) ** (-(degrees + 1) / 2)
    density *= math.gamma((degrees + 1) / 2) / (math.gamma(degrees / 2) * math.sqrt(degrees * math.pi))
    mass = torch.cumulative_trapezoid(density, x)
    return float(x[1:][torch.searchsorted(mass, 0.475)])
