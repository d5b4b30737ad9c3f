"""One network and its single-task twins, trained with one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import lightning as L

from ..data import MultiTaskDataModule
from ..modules import MultiTaskModule
from ._cost import Cost, costs_of
from ._result import Comparison
from ._runs import Judged, Run, run_arm, trained
from ._task_result import ALL, STAGED, TaskComparison
from ._twin_cache import Twin, TwinCache
from ._two_stage import fine_tuning

Results = dict[str, Judged]


@dataclass(frozen=True)
class Outcome:
    """How the tasks did in each arm with one seed, and what the networks took."""

    multi: Results
    single: Results = field(default_factory=dict)
    staged: Results = field(default_factory=dict)
    costs: dict[str, list[Cost | None]] = field(default_factory=dict)

    def add(self, arm: str, task: str, twin: Twin) -> None:
        """Take in a network for one task."""
        (self.staged if arm == STAGED else self.single)[task] = twin.judged
        self.costs.setdefault(arm, []).append(twin.cost)


@dataclass(frozen=True)
class Twins:
    """What all runs of a comparison have in common."""

    build: Callable[[list[str] | None], MultiTaskModule]
    data: MultiTaskDataModule
    trainer: Callable[[str], L.Trainer]
    finish: Callable[[L.Trainer], None] | None
    share: float = 0.0
    """Of a twin's training, that fine-tuning takes in the two-stage arm; 0 is none."""

    cache: TwinCache | None = None

    def run(self, seed: int) -> Outcome:
        """Train and test all networks with this seed."""
        whole = run_arm(ALL, partial(self.build, None), self.data, self._whole, seed, self.finish)
        if not whole.judged:
            raise ValueError("`build` must make a module with at least one task that has `metrics`, got none.")
        found = Outcome(whole.judged, costs={ALL: [whole.cost]})
        with self._twin_steps() as steps:
            for task in whole.judged:
                self.data.steps_per_epoch = steps(task)
                found.add("single-task", task, self._twin(task, seed))
                if self.share:
                    found.add(STAGED, task, self._staged(task, seed, whole.module))
        return found

    def _twin(self, task: str, seed: int) -> Twin:
        """Train and test a twin, or read how it did the last time."""
        L.seed_everything(seed, verbose=False)
        trainer, module = self.trainer(f"{task}/seed{seed}"), self.build([task])
        if self.cache is None:
            return _of(task, trained(trainer, module, self.data, self.finish))
        key = self.cache.key(module, trainer, self.data, seed)
        if (found := self.cache.find(key)) is not None:
            return found
        made = _of(task, trained(trainer, module, self.data, self.finish))
        if trainer.is_global_zero:
            self.cache.keep(key, made)
        return made

    def _staged(self, task: str, seed: int, whole: MultiTaskModule) -> Twin:
        build = partial(self.build, [task])
        made = lambda run: fine_tuning(self.trainer(run), whole, self.share)  # noqa: E731
        return _of(task, run_arm(f"{STAGED}-{task}", build, self.data, made, seed, self.finish))

    def _whole(self, run: str) -> L.Trainer:
        made = self.trainer(run)
        _refuse_part(made, self.data)
        return made

    @contextmanager
    def _twin_steps(self) -> Iterator[Callable[[str], int]]:
        """Tell the steps of a task's twin: as many as the network for all tasks took with its source."""
        sampler, reads, own = self.data.sampler, self.data.reads(), self.data.steps_per_epoch
        assert sampler is not None
        self.data.summary = False
        try:
            yield lambda task: sampler.steps_with(reads[task])
        finally:
            self.data.steps_per_epoch = own


def compared(seeds: Sequence[int], found: Sequence[Outcome], cache: TwinCache | None) -> Comparison:
    """Put together what all seeds gave."""
    cached = None if cache is None else cache.read
    costs = costs_of({arm: [seed.costs[arm] for seed in found] for arm in found[0].costs}, {STAGED: ALL})
    return Comparison(tuple(seeds), tuple(_task(name, found) for name in found[0].multi), costs=costs, cached=cached)


def _of(task: str, run: Run) -> Twin:
    return Twin(run.judged[task], run.cost)


def _task(name: str, found: Sequence[Outcome]) -> TaskComparison:
    of = found[0].multi[name]
    single, multi = tuple(seed.single[name].value for seed in found), tuple(seed.multi[name].value for seed in found)
    staged = tuple(seed.staged[name].value for seed in found if seed.staged)
    return TaskComparison(name, of.metric, of.sign, single, multi, staged or None)


def _refuse_part(trainer: L.Trainer, data: MultiTaskDataModule) -> None:
    """Refuse epochs that end early where sources are drawn: a twin, whose epochs are shorter, would take more steps than its share."""
    early = trainer.limit_train_batches != 1.0 or trainer.max_steps != -1
    if early and data.batches != "all" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise ValueError(
            "`limit_train_batches` and `max_steps` must be left out of a comparison where sources are drawn, got "
            f"{trainer.limit_train_batches} and {trainer.max_steps}. Use MultiTaskDataModule(steps_per_epoch=) and max_epochs."
        )
