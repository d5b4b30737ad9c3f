"""One network, trained and tested."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import lightning as L

from .._lightning import insert_callbacks
from .._plain import escaped
from ..data import MultiTaskDataModule
from ..modules import MultiTaskModule
from ..task import Task, bound_of
from ._cost import Cost
from ._meter import Meter


class TaskScore(NamedTuple):
    """A task's main metric on the split "test"; `sign` is 1 where higher is better, else -1.

    The value is NaN where the split does not define the metric; `best` is the highest that it can have, where it has one.
    """

    metric: str
    sign: int
    value: float
    best: float | None = None


class Run(NamedTuple):
    """A network that was trained and tested, with the weights that were tested."""

    module: MultiTaskModule
    scores: dict[str, TaskScore]
    cost: Cost | None


def fit(
    trainer: L.Trainer, module: MultiTaskModule, data: L.LightningDataModule, start: str | None = None
) -> str | None:
    """Train, and return the path of the best checkpoint, if the Trainer monitors a metric.

    Args:
        trainer: The Trainer.
        module: The network.
        data: The data.
        start: A checkpoint from which training is resumed.
    """
    trainer.fit(module, data, ckpt_path=start)
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    monitored = getattr(trainer.checkpoint_callback, "monitor", None) is not None
    return best if best and monitored else None


def validation_score(
    trainer: L.Trainer, module: MultiTaskModule, data: MultiTaskDataModule, checkpoint: str | None
) -> float:
    """Validate, and return `validate/score`.

    Raises:
        ValueError: There is none.
    """
    (results,) = trainer.validate(module, data, ckpt_path=checkpoint, verbose=False)
    if "validate/score" not in results:
        raise ValueError(
            f"The split 'validation' must have `validate/score`, got {sorted(results)}. Give a task `metrics`, and rows."
        )
    return float(results["validate/score"])


def run_arm(
    name: str,
    build: Callable[[], MultiTaskModule],
    data: MultiTaskDataModule,
    trainer: Callable[[str], L.Trainer],
    seed: int,
    finish: Callable[[L.Trainer], None] | None,
    also: Sequence[str] = (),
) -> Run:
    """Train and test one network with a seed.

    Args:
        name: The name of the arm.
        build: Makes the network.
        data: The data.
        trainer: Makes a Trainer for the run of this name.
        seed: The seed.
        finish: Called with the Trainer when the run is over.
        also: See `task_scores`.
    """
    L.seed_everything(seed, verbose=False)
    run = trainer(f"{name}/seed{seed}")
    module = build()
    return train_and_test(run, module, data, finish, also)


def train_and_test(
    trainer: L.Trainer,
    module: MultiTaskModule,
    data: MultiTaskDataModule,
    finish: Callable[[L.Trainer], None] | None,
    also: Sequence[str] = (),
) -> Run:
    """Train and test a network; see `run_arm`.

    Args:
        trainer: The Trainer.
        module: The network.
        data: The data.
        finish: Called with the Trainer when the run is over.
        also: See `task_scores`.
    """
    meter = Meter()
    insert_callbacks(trainer, [meter])
    scores = task_scores(trainer, module, data, fit(trainer, module, data), also)
    if finish is not None:
        finish(trainer)
    return Run(module, scores, meter.cost)


def task_scores(
    trainer: L.Trainer,
    module: MultiTaskModule,
    data: MultiTaskDataModule,
    checkpoint: str | None,
    also: Sequence[str] = (),
) -> dict[str, TaskScore]:
    """Test, and return the main metric of each task that has one.

    Args:
        trainer: The Trainer.
        module: The network.
        data: The data.
        checkpoint: The checkpoint with its weights; None for the weights that it has.
        also: Results "<name>/<metric>" that a module may log as "test/<name>/<metric>" beside those of its tasks; higher is better.

    """
    (results,) = trainer.test(module, data, ckpt_path=checkpoint, verbose=False)
    mains = [(task, main) for task in module.tasks if (main := task.main_metric()) is not None]
    found = {
        task.name: TaskScore(
            metric, sign, float(results.get(f"test/{escaped(task.name)}/{metric}", math.nan)), _best(task, metric, sign)
        )
        for task, (metric, sign) in mains
    }
    for name, metric in (key.rsplit("/", 1) for key in also if f"test/{key}" in results):
        found[name] = TaskScore(metric, 1, float(results[f"test/{name}/{metric}"]))
    return found


def _best(task: Task, metric: str, sign: int) -> float | None:
    """Return the highest value of a metric of which higher is better, where it declares one."""
    return bound_of(task.metric_collection()[metric]) if sign > 0 else None


def refuse_generators(data: MultiTaskDataModule) -> None:
    """Check that no source is a generator: the second network would continue where the first one stopped.

    Raises:
        ValueError: A source can be read only once, or `data` is no data module of the library.
    """
    if not isinstance(data, MultiTaskDataModule):
        raise ValueError(
            f"`data` must be a MultiTaskDataModule, got {type(data).__name__}. Make one: MultiTaskDataModule({{'rows': ...}})."
        )
    if once := [name for name, source in data.sources.items() if isinstance(source.stream, Iterator)]:
        raise ValueError(
            f"`data` must give each network the same rows, got generators, which can be read once, for {once}. Give iterables that "
            "can be read again, e.g. by `datasets.IterableDataset.from_generator`."
        )
