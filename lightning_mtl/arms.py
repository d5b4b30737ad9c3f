"""A comparison of two networks for the same tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L

from .comparison import (
    STAGED,
    Comparison,
    NewModules,
    NewTrainers,
    Run,
    TaskComparison,
    TaskScore,
    as_folder,
    costs_of,
    monitors_validation,
    refuse_generators,
    refuse_other_metric,
    refuse_seeds,
    refuse_split,
    run_arm,
    scored_tasks,
)
from .data import MultiTaskDataModule
from .modules import MultiTaskModule


def compare_arms(
    arms: Mapping[str, Callable[[], MultiTaskModule]],
    data: MultiTaskDataModule,
    trainer: Callable[[str], L.Trainer],
    *,
    seeds: Iterable[int] = range(5),
    also: Sequence[str] = (),
    finish: Callable[[L.Trainer], None] | None = None,
    after_seed: Callable[[Comparison], Any] | None = None,
    done: Comparison | None = None,
) -> Comparison:
    """Train two networks for the same tasks, and test how much each task gains or loses from the first to the second.

    For every seed both get the same data in the same order, the same number of steps, and the same seed; see `compare`.

    Args:
        arms: {name: makes a new module}; the first is the baseline of the second.
        data: The data, with a split "test".
        trainer: Makes a new Trainer for the run of this name, e.g. "levels/seed0".
        seeds: The seeds, all different; at least two for an interval, five or more for a useful one.
        also: Results "<name>/<metric>" that the modules may log as "test/<name>/<metric>" beside those of their tasks, e.g. of
            several tasks at once; higher is better.
        finish: Called with each Trainer when its run is over, e.g. to close its logger.
        after_seed: Called with the comparison so far when both networks of a seed are done, e.g. to write it.
        done: The comparison of an earlier run of the same networks, e.g. one that was broken off; its seeds are not trained again.

    Returns:
        For each task its first metric on the split "test" in both arms, and `delta_m`.

    Raises:
        ValueError: There are not two arms, or their names cannot be used; `seeds` holds none, or one twice; the arms have other tasks
            or metrics, or none with a metric; the split "test" does not fit the tasks; or `arms` or `trainer` makes nothing new.
    """
    refuse_arms(arms)
    chosen = refuse_seeds(seeds)
    refuse_generators(data)
    refuse_also(also)
    first, second = arms
    builds: dict[str, NewModules[MultiTaskModule]] = {
        name: NewModules(build, f"arms[{name!r}]") for name, build in arms.items()
    }
    refuse_unlike_arms({name: build() for name, build in builds.items()}, data)
    train, own_summary, found = _Runs(builds, data, NewTrainers(trainer), finish, also), data.summary, done
    try:
        for seed in (of for of in chosen if done is None or of not in done.seeds):
            now = train.comparison(seed, (first, second))
            found = now if found is None else found.joined(now)
            if after_seed is not None:
                after_seed(found)
    finally:
        data.summary = own_summary
    assert found is not None
    return found


@dataclass
class _Runs:
    """Trains and tests both networks."""

    builds: Mapping[str, NewModules[MultiTaskModule]]
    data: MultiTaskDataModule
    trainer: NewTrainers
    finish: Callable[[L.Trainer], None] | None
    also: Sequence[str]
    _looked_at: bool = False

    def comparison(self, seed: int, arms: tuple[str, str]) -> Comparison:
        """Return the comparison that both networks with this seed make."""
        ones, others = (self._run(name, seed) for name in arms)
        sizes = tuple(sum(p.numel() for p in of.module.parameters()) for of in (ones, others))
        costs = costs_of({name: [[of.cost]] for name, of in zip(arms, (ones, others), strict=True)})
        return Comparison((seed,), _paired(ones.scores, others.scores), arms, (sizes[0], sizes[1]), costs)

    def _run(self, name: str, seed: int) -> Run:
        run = run_arm(as_folder(name), self.builds[name], self.data, self._checked, seed, self.finish, self.also)
        self.data.summary = False
        return run

    def _checked(self, run: str) -> L.Trainer:
        """Make a Trainer; look at the split "validation" before the first network is trained, if it needs that."""
        made, looked, self._looked_at = self.trainer(run), self._looked_at, True
        if monitors_validation(made) and not looked:
            refuse_split(self.data, next(iter(self.builds.values()))(), "validation")
        return made


def refuse_arms(arms: Mapping[str, Any]) -> None:
    """Check that there are two networks, whose names differ from each other and from the columns of a table.

    Raises:
        ValueError: There are more or fewer, or a name cannot be used.
    """
    if not isinstance(arms, Mapping) or len(arms) != 2:
        raise ValueError(f"`arms` must be two networks, got {list(arms)}. Compare others one by one.")
    columns = ("task", "metric", "difference", "low", "high", "verdict", "seeds", STAGED)
    for name in arms:
        if not isinstance(name, str) or not name or name in columns:
            raise ValueError(
                f"The names of `arms` must be texts other than {list(columns)}, which are columns of the table, got {name!r}. Use "
                "another."
            )
    if len({as_folder(name) for name in arms}) < 2:
        raise ValueError(f"The names of `arms` must differ as names of folders, got {list(arms)}. Rename one.")


def refuse_also(also: Sequence[str]) -> None:
    """Check that further results are named "<name>/<metric>".

    Raises:
        ValueError: One is not.
    """
    if isinstance(also, str) or any("/" not in name.strip("/") for name in also):
        raise ValueError(
            f"`also` must be a list of results '<name>/<metric>', got {also!r}. Name them as they are logged."
        )


def refuse_unlike_arms(modules: Mapping[str, MultiTaskModule], data: MultiTaskDataModule) -> None:
    """Check that both networks learn the same tasks, with the same first metrics, and that the split "test" can measure them.

    Raises:
        ValueError: They do not, or it cannot.
    """
    (first, one), (second, other) = modules.items()
    ones, others = ({task.name: task for task in scored_tasks(of)} for of in (one, other))
    if not ones or set(ones) != set(others):
        raise ValueError(
            f"`arms` must be networks for the same tasks, with `metrics`, got {first!r} with {list(ones)} and {second!r} with "
            f"{list(others)}. Give both the same tasks."
        )
    for name, task in ones.items():
        refuse_other_metric(task, others[name], "arms", (first, second))
    for module in (one, other):
        refuse_split(data, module, "test")


def _paired(ones: Mapping[str, TaskScore], others: Mapping[str, TaskScore]) -> tuple[TaskComparison, ...]:
    """Return the results of both networks for each task, and for results that both have beside them."""
    return tuple(
        TaskComparison(task, of.metric, of.sign, (of.value,), (others[task].value,), best=of.best)
        for task, of in ones.items()
        if task in others
    )
