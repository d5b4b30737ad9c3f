"""One network and its single-task twins, trained with one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import lightning as L

from ..data import MultiTaskDataModule
from ..modules import MultiTaskModule
from ._before import monitors_validation, refuse_split
from ._cost import Cost, costs_of
from ._new_modules import NewModules, refuse_other_tasks, scored_tasks
from ._new_trainers import NewTrainers
from ._result import Comparison
from ._run_names import run_names
from ._runs import Run, TaskScore, run_arm, train_and_test
from ._task_result import ALL, STAGED, TaskComparison
from ._twin_cache import Twin, TwinCache
from ._two_stage import fine_tuning

Scores = dict[str, TaskScore]


@dataclass(frozen=True)
class SeedResults:
    """The scores of the tasks in each arm with one seed, and the costs of the networks."""

    multi: Scores
    single: Scores = field(default_factory=dict)
    staged: Scores = field(default_factory=dict)
    costs: dict[str, list[Cost | None]] = field(default_factory=dict)

    def add(self, arm: str, task: str, twin: Twin) -> None:
        """Add a network for one task."""
        (self.staged if arm == STAGED else self.single)[task] = twin.score
        self.costs.setdefault(arm, []).append(twin.cost)


@dataclass
class Twins:
    """Trains one network for all tasks and its single-task twins."""

    build: NewModules[MultiTaskModule]
    data: MultiTaskDataModule
    trainer: NewTrainers
    finish: Callable[[L.Trainer], None] | None
    share: float = 0.0
    """The share of a twin's training that fine-tuning takes in the two-stage arm; 0 for no such arm."""

    cache: TwinCache | None = None
    _joint: MultiTaskModule | None = None
    """A network for all tasks by which the split "validation" is still to be looked at, if a Trainer needs it."""

    def refuse_unfit(self, joint: MultiTaskModule) -> None:
        """Check twins and data before the first network is trained.

        Args:
            joint: A network for all tasks, which is not trained.

        Raises:
            ValueError: A twin learns other tasks, or a split cannot measure a task.
        """
        tasks = scored_tasks(joint)
        if not tasks:
            raise ValueError(
                "`build` must make a module with at least one task that has `metrics`, got none. Leave `metrics` out for those "
                "that fit the head."
            )
        for task in tasks:
            refuse_other_tasks(self.build([task.name]), task, [of.name for of in joint.tasks])
        refuse_split(self.data, joint, "test")
        self._joint = joint

    def comparison(self, seed: int) -> Comparison:
        """Return the comparison that the networks with this seed make."""
        before = None if self.cache is None else self.cache.read
        found = self.run(seed)
        costs = costs_of({arm: [of] for arm, of in found.costs.items()}, {STAGED: ALL} if self.share else None)
        cached = None if self.cache is None or before is None else self.cache.read - before
        return Comparison((seed,), tuple(_task(name, found) for name in found.multi), costs=costs, cached=cached)

    def run(self, seed: int) -> SeedResults:
        """Train and test all networks with this seed."""
        joint = run_arm(ALL, partial(self.build, None), self.data, self._joint_trainer, seed, self.finish)
        results, names = SeedResults(joint.scores, costs={ALL: [joint.cost]}), run_names(joint.scores)
        with self._twin_steps() as steps:
            for task, name in names.items():
                self.data.steps_per_epoch = steps(task)
                results.add("single-task", task, self._twin(task, name, seed))
                if self.share:
                    results.add(STAGED, task, self._fine_tuned(task, name, seed, joint.module))
        return results

    def _twin(self, task: str, name: str, seed: int) -> Twin:
        """Train and test a twin, or read its result from the cache."""
        L.seed_everything(seed, verbose=False)
        trainer, module = self.trainer(f"{name}/seed{seed}"), self.build([task])
        if self.cache is None:
            return _twin_of(task, train_and_test(trainer, module, self.data, self.finish))
        key = self.cache.key(module, trainer, self.data, seed)
        if (cached := self.cache.find(key)) is not None:
            return cached
        twin = _twin_of(task, train_and_test(trainer, module, self.data, self.finish))
        if trainer.is_global_zero:
            self.cache.keep(key, twin)
        return twin

    def _fine_tuned(self, task: str, name: str, seed: int, joint: MultiTaskModule) -> Twin:
        build = partial(self.build, [task])
        trainer = lambda run: fine_tuning(self.trainer(run), joint, self.share)  # noqa: E731
        return _twin_of(task, run_arm(f"{STAGED}-{name}", build, self.data, trainer, seed, self.finish))

    def _joint_trainer(self, run: str) -> L.Trainer:
        trainer = self.trainer(run)
        _refuse_partial_epochs(trainer, self.data)
        joint, self._joint = self._joint, None
        if joint is not None and monitors_validation(trainer):
            refuse_split(self.data, joint, "validation")
        return trainer

    @contextmanager
    def _twin_steps(self) -> Iterator[Callable[[str], int]]:
        """Return a function for the steps of a task's twin: as many as the network for all tasks took with its source."""
        sampler, reads, own = self.data.sampler, self.data.reads(), self.data.steps_per_epoch
        assert sampler is not None
        self.data.summary = False
        try:
            yield lambda task: sampler.steps_with(reads[task])
        finally:
            self.data.steps_per_epoch = own


def _twin_of(task: str, run: Run) -> Twin:
    return Twin(run.scores[task], run.cost)


def _task(name: str, found: SeedResults) -> TaskComparison:
    of, staged = found.multi[name], (found.staged[name].value,) if found.staged else None
    return TaskComparison(name, of.metric, of.sign, (found.single[name].value,), (of.value,), staged, of.best)


def _refuse_partial_epochs(trainer: L.Trainer, data: MultiTaskDataModule) -> None:
    """Refuse epochs that end early where sources are drawn: a twin, whose epochs are shorter, would take more steps than it should."""
    early = trainer.limit_train_batches != 1.0 or trainer.max_steps != -1
    if early and data.batches != "all" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise ValueError(
            "`limit_train_batches` and `max_steps` must be left out of a comparison where sources are drawn, got "
            f"{trainer.limit_train_batches} and {trainer.max_steps}. Use MultiTaskDataModule(steps_per_epoch=) and max_epochs."
        )
