"""The level that suits each task: each is tried at each level, with the same data, steps and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning as L

from ._checks import require, require_numbers
from ._table import table
from .comparison import (
    Interval,
    NewModules,
    NewTrainers,
    TaskScore,
    as_folder,
    monitors_validation,
    refuse_generators,
    refuse_seeds,
    refuse_split,
    run_arm,
)
from .data import MultiTaskDataModule
from .hierarchical import HierarchicalModule
from .metrics import all_finite, relative_gains
from .writing import write_csv

Levels = Mapping[str, int]
Results = tuple[dict[str, TaskScore], ...]
"""The scores of the tasks on the split "test", for each seed."""


@dataclass(frozen=True)
class Tried:
    """A task at another level: the scores of all tasks then, and with the task at its own level."""

    task: str
    level: int
    found: Results
    base: Results

    @property
    def judged(self) -> TaskScore:
        """The task's own metric, averaged over the seeds."""
        first = self.found[0][self.task]
        return TaskScore(first.metric, first.sign, fmean(of[self.task].value for of in self.found))

    @property
    def difference(self) -> Interval:
        """The change of the task's metric, in its own unit and direction."""
        pairs = zip(self.found, self.base, strict=True)
        return Interval.of([found[self.task].value - base[self.task].value for found, base in pairs])

    @property
    def gain(self) -> Interval:
        """The same, oriented so that higher is better."""
        sign, of = self.judged.sign, self.difference
        return of if sign > 0 else Interval(-of.mean, -of.high, -of.low)

    @property
    def others(self) -> Interval:
        """The gain of the other tasks, in percent of their metrics, averaged over them."""
        return Interval.of([_gain(found, base, self.task) for found, base in zip(self.found, self.base, strict=True)])


@dataclass(frozen=True)
class Placement:
    """The result of `search_placement`; `str()` of it is the table.

    `refused` says why a task could not be tried at a level.
    """

    start: Levels
    seeds: tuple[int, ...]
    tried: tuple[Tried, ...]
    refused: Mapping[tuple[str, int], str]

    @property
    def suits(self) -> dict[str, int]:
        """The level of each task: where it started, unless there is evidence for another; then the best of those."""
        found = dict(self.start)
        for task in found:
            better = [of for of in self.tried if of.task == task and of.gain.low > 0 and len(self.seeds) > 1]
            if better:
                found[task] = max(better, key=lambda of: of.gain.mean).level
        return found

    def __str__(self) -> str:
        header = (
            "task",
            "level",
            "metric",
            "value",
            "against its level [95% interval]",
            "task",
            "others, % [95% interval]",
            "others",
        )
        rows = [row for task, level in self.start.items() for row in self._rows(task, level)]
        suits = ", ".join(f"{task} {level}" for task, level in self.suits.items())
        return (
            f"{table(header, rows)}\nSuits: {suits} (another level than it has is named where there is evidence for it). Paired seeds: "
            f"{len(self.seeds)}."
        )

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each task, level and seed; the file is whole at any time."""
        rows: list[Sequence[Any]] = [("task", "level", "seed", "metric", "value", "at_its_level", "others_percent")]
        for of in self.tried:
            for seed, found, base in zip(self.seeds, of.found, of.base, strict=True):
                values = found[of.task].value, base[of.task].value, _gain(found, base, of.task)
                rows.append((of.task, of.level, seed, found[of.task].metric, *values))
        write_csv(path, rows)

    def _rows(self, task: str, start: int) -> list[tuple[str, ...]]:
        at = {of.level: of for of in self.tried if of.task == task}
        refused = {level for name, level in self.refused if name == task}
        own = next(iter(at.values()), None)
        rows: list[tuple[str, ...]] = []
        for level in sorted({start, *at, *refused}):
            if level == start:
                value = f"{fmean(of[task].value for of in own.base):.4f}" if own else ""
                rows.append((task, str(level), own.judged.metric if own else "", value, "its level", "", "", ""))
            elif level in refused:
                rows.append((task, str(level), "", "", f"not possible: {self.refused[task, level]}", "", "", ""))
            else:
                of = at[level]
                rows.append(
                    (
                        task,
                        str(level),
                        of.judged.metric,
                        f"{of.judged.value:.4f}",
                        str(of.difference),
                        of.gain.verdict,
                        str(of.others),
                        of.others.verdict,
                    )
                )
        return rows


def search_placement(
    build: Callable[[Levels | None], HierarchicalModule],
    data: MultiTaskDataModule,
    trainer: Callable[[str], L.Trainer],
    *,
    levels: Mapping[str, Sequence[int]] | None = None,
    seeds: Iterable[int] = range(5),
    finish: Callable[[L.Trainer], None] | None = None,
    after_level: Callable[[Placement], Any] | None = None,
) -> Placement:
    """Try each task at each level, while the others stay at their own.

    Every network gets the same data in the same order, the same steps and the same seeds. It is tested as in `compare`. The table shows
    the paired difference to the network in which the task has its own level. With k levels tried for each of n tasks, one difference in
    twenty is outside its interval by chance: confirm a result with other seeds.

    Args:
        build: Makes a new module with tasks at these levels, and the others at their own; with all at their own where it gets None.
        data: The data, with a split "test".
        trainer: Makes a new Trainer for the run of this name, e.g. "start/seed0" or "ner-at-2/seed3".
        levels: The levels to try, for some tasks. Default: all levels for all tasks.
        seeds: The seeds, all different; at least two for an interval, five or more for a useful one.
        finish: Called with each Trainer when its run is over, e.g. to close its logger.
        after_level: Called with the results so far when a level is done, e.g. to write them.

    Raises:
        ValueError: `seeds` holds none, or one twice; `levels` names an unknown task or level, or `build` ignores the levels; a split
            does not fit the tasks; or `build` or `trainer` makes nothing new.
    """
    chosen = refuse_seeds(seeds)
    refuse_generators(data)
    modules: NewModules[HierarchicalModule] = NewModules(build)
    module = modules(None)
    start, wanted = _levels_to_try(module, levels)
    refuse_split(data, module, "test")
    moves = [(name, level) for name in wanted for level in wanted[name] if level != start[name]]
    refused = {move: reason for move in moves if (reason := _reason_against(modules, *move))}
    train = _Runs(modules, data, NewTrainers(trainer), chosen, finish, module)
    own_summary = data.summary
    tried: list[Tried] = []
    try:
        base = train.all({})
        for task, level in (move for move in moves if move not in refused):
            tried.append(Tried(task, level, train.all({task: level}), base))
            if after_level is not None:
                after_level(Placement(start, chosen, tuple(tried), refused))
    finally:
        data.summary = own_summary
    return Placement(start, chosen, tuple(tried), refused)


@dataclass
class _Runs:
    """Trains and tests networks with tasks at other levels."""

    build: NewModules[HierarchicalModule]
    data: MultiTaskDataModule
    trainer: NewTrainers
    seeds: tuple[int, ...]
    finish: Callable[[L.Trainer], None] | None
    start: HierarchicalModule | None
    """A network by which the split "validation" is still to be looked at, if a Trainer needs it."""

    def all(self, moved: Levels) -> Results:
        """Train and test a network for each seed."""
        return tuple(self.one(moved, seed) for seed in self.seeds)

    def one(self, moved: Levels, seed: int) -> dict[str, TaskScore]:
        """Train and test one network."""
        arm = "-".join(f"{as_folder(task)}-at-{level}" for task, level in moved.items()) or "start"
        build = partial(self.build, moved or None)
        scores = run_arm(arm, build, self.data, self._checked, seed, self.finish).scores
        self.data.summary = False  # one table of the tasks is enough
        return scores

    def _checked(self, run: str) -> L.Trainer:
        made, module, self.start = self.trainer(run), self.start, None
        if module is not None and monitors_validation(made):
            refuse_split(self.data, module, "validation")
        return made


def _levels_to_try(
    module: HierarchicalModule, levels: Mapping[str, Sequence[int]] | None
) -> tuple[dict[str, int], Mapping[str, Sequence[int]]]:
    """Return the level of each task, and the levels to try for each."""
    count = len(module.encoder.levels)
    start = {
        task.name: top
        for task, top in zip(module.tasks, module.hierarchy.top, strict=True)
        if not task.auxiliary and task.metrics != []
    }
    wanted = dict.fromkeys(start, range(1, count + 1)) if levels is None else levels
    require(isinstance(wanted, Mapping), "levels", "{task: levels}", wanted, "Leave it out for all.")
    for task, tried in wanted.items():
        if task not in start:
            raise ValueError(f"`levels` must name tasks that have a metric, got {task!r}; these are {list(start)}.")
        remedy = "Levels count from 1, the lowest."
        require_numbers("levels", tried, remedy, at_least=1, at_most=count, whole=True, of=f"task {task!r}")
    return start, wanted


def _reason_against(build: Callable[[Levels | None], HierarchicalModule], task: str, level: int) -> str | None:
    """Return why a task cannot be at a level, if it cannot: because it feeds others, or is fed by them."""
    try:
        module = build({task: level})
    except ValueError as error:
        return str(error)
    found = module.hierarchy.top[module.hierarchy.names.index(task)]
    if found != level:
        raise ValueError(
            f"`build` must put task {task!r} at level {level}, got it at {found}. Use the levels that it is given."
        )
    return None


def _gain(found: Mapping[str, TaskScore], base: Mapping[str, TaskScore], but: str) -> float:
    """Return the mean gain of the other tasks, in percent."""
    pairs = [(of, base[name].value) for name, of in found.items() if name != but]
    known = [(of, before) for of, before in pairs if all_finite([of.value, before])]
    gains = [gain for of, before in known for gain in relative_gains([of.value], [before], of.sign, of.best)]
    return fmean(gains) if gains else 0.0
