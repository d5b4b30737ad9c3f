"""One network and its single-task twins, trained with one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import lightning as L

from ._compared import ALL, Comparison
from ._cost import Cost, costs_of
from ._judging import Judged, Run, run_arm
from ._task_comparison import TaskComparison
from .datamodule import MultiTaskDataModule
from .module import MultiTaskModule

Results = dict[str, Judged]


@dataclass(frozen=True)
class Outcome:
    """How the tasks did in each arm with one seed, and what the networks took."""

    multi: Results
    single: Results = field(default_factory=dict)
    costs: dict[str, list[Cost | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Twins:
    """What all runs of a comparison have in common."""

    build: Callable[[list[str] | None], MultiTaskModule]
    data: MultiTaskDataModule
    trainer: Callable[[str], L.Trainer]
    finish: Callable[[L.Trainer], None] | None

    def run(self, seed: int) -> Outcome:
        """Train and test all networks with this seed."""
        whole = run_arm(ALL, partial(self.build, None), self.data, self._whole, seed, self.finish)
        if not whole.judged:
            raise ValueError("`build` must make a module with at least one task that has `metrics`, got none.")
        found = Outcome(whole.judged, costs={ALL: [whole.cost], "single-task": []})
        with self._twin_steps() as steps:
            for task in whole.judged:
                self.data.steps_per_epoch = steps(task)
                twin = self._twin(task, seed)
                found.single[task] = twin.judged[task]
                found.costs["single-task"].append(twin.cost)
        return found

    def _twin(self, task: str, seed: int) -> Run:
        return run_arm(task, partial(self.build, [task]), self.data, self.trainer, seed, self.finish)

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


def compared(seeds: Sequence[int], found: Sequence[Outcome]) -> Comparison:
    """Put together what all seeds gave."""
    tasks = tuple(
        TaskComparison(
            task,
            of.metric,
            of.sign,
            tuple(seed.single[task].value for seed in found),
            tuple(seed.multi[task].value for seed in found),
        )
        for task, of in found[0].multi.items()
    )
    costs = costs_of({arm: [seed.costs[arm] for seed in found] for arm in found[0].costs})
    return Comparison(tuple(seeds), tasks, costs=costs)


def _refuse_part(trainer: L.Trainer, data: MultiTaskDataModule) -> None:
    """Refuse epochs that end early where sources are drawn: a twin, whose epochs are shorter, would take more steps than its share."""
    early = trainer.limit_train_batches != 1.0 or trainer.max_steps != -1
    if early and data.batches != "all" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise ValueError(
            "`limit_train_batches` and `max_steps` must be left out of a comparison where sources are drawn, got "
            f"{trainer.limit_train_batches} and {trainer.max_steps}. Use MultiTaskDataModule(steps_per_epoch=) and max_epochs."
        )
