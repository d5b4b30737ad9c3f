"""One network against its single-task twins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning as L

from ..data import MultiTaskDataModule
from ..modules import MultiTaskModule
from ._before import refuse_unscored
from ._new_modules import NewModules
from ._new_trainers import NewTrainers
from ._result import Comparison
from ._runs import fit, refuse_generators, validation_score
from ._seeds import refuse_seeds
from ._task_result import ALL
from ._twin_cache import TwinCache
from ._twins import Twins
from ._two_stage import fine_tuning_share


def compare(
    build: Callable[[list[str] | None], MultiTaskModule],
    data: MultiTaskDataModule,
    trainer: Callable[[str], L.Trainer],
    *,
    seeds: Iterable[int] = range(5),
    finish: Callable[[L.Trainer], None] | None = None,
    two_stage: bool | float = False,
    cache: str | Path | None = None,
    after_seed: Callable[[Comparison], Any] | None = None,
    done: Comparison | None = None,
) -> Comparison:
    """Train one network for all tasks and one for each, and test how much each task gains or loses by sharing.

    For every seed the arms get the same data in the same order, the same number of steps, and the same seed. A network is
    tested with the weights of its best checkpoint where its Trainer monitors a metric, each arm with its own, and otherwise
    with its last weights. All that the networks need of the data is looked at before the first one is trained.

    Args:
        build: Makes a new module for the tasks with these names; for all tasks where it gets None.
        data: The data, with a split "test".
        trainer: Makes a new Trainer for the run of this name, e.g. "multi-task/seed0" or "topic/seed3".
        seeds: The seeds, all different; at least two for an interval, five or more for a useful one.
        finish: Called with each Trainer when its run is over, e.g. to close its logger.
        two_stage: Whether to fine-tune each task by itself too, from the tested weights of the network for all tasks: its encoder
            and the task's head, with a new optimizer. True gives it half of a twin's epochs (or steps, where `max_steps` ends
            training), a number that share of them, rounded up. Its runs are called "two-stage-topic/seed3".
        cache: A folder that keeps the result of each twin, and returns it where the same twin would be trained: with the same
            task, head, loss, encoder, initial weights, optimizer, data, seed, settings of the Trainer and versions of the packages. Your
            own code counts too, with the functions that it calls; code of installed packages counts by their version. A twin for
            which this cannot be known (its rows are a stream, a ready DataLoader) is trained and not kept. To find out whether a
            twin is the same, `build` and `trainer` are called for it, `finish` not. The network for all tasks is always trained.
        after_seed: Called with the comparison so far when all networks of a seed are done, e.g. to write it.
        done: The comparison of an earlier run of the same networks, e.g. one that was broken off; its seeds are not trained again.

    Returns:
        For each task its first metric on the split "test" in all arms, `delta_m`, and what the arms cost.

    Raises:
        ValueError: `seeds` holds none, or one twice; there is no task with a metric; the split "test" does not fit the tasks, or the
            split "validation" where a checkpoint is chosen by it; `build` or `trainer` does not make what it is asked for, or nothing
            new; or `two_stage` is no share, or a twin cannot load the weights; or `cache` is a file.

    Example:
        >>> from lightning_mtl.comparison import Comparison, TaskComparison
        >>> print(Comparison((0, 1), (TaskComparison("topic", "accuracy", 1, (0.50, 0.60), (0.56, 0.65)),)))
        task     metric  single-task  multi-task   difference [95% interval]      sharing
        -----  --------  -----------  ----------  --------------------------  -----------
        topic  accuracy       0.5500      0.6050  +0.0550 [-0.0085, +0.1185]  no evidence
        delta_m in percent +10.1667 [-13.1280, +33.4614], paired seeds: 2
    """
    chosen, share = refuse_seeds(seeds), fine_tuning_share(two_stage)
    refuse_generators(data)
    modules: NewModules[MultiTaskModule] = NewModules(build)
    joint = modules(None)
    own_steps, own_summary, own_columns = data.steps_per_epoch, data.summary, data.not_inputs
    # Without this, a twin would read the targets of the other tasks as inputs.
    data.not_inputs = own_columns | {column for task in joint.tasks for column in task.columns}
    twin_cache = None if cache is None else TwinCache(cache)
    twins = Twins(modules, data, NewTrainers(trainer), finish, share, twin_cache)
    try:
        twins.refuse_unfit(joint)
        found = done
        for seed in (of for of in chosen if done is None or of not in done.seeds):
            now = twins.comparison(seed)
            found = now if found is None else found.joined(now)
            if after_seed is not None:
                after_seed(found)
    finally:
        data.steps_per_epoch, data.summary, data.not_inputs = own_steps, own_summary, own_columns
    assert found is not None
    return found


def score(
    build: Callable[[list[str] | None], MultiTaskModule],
    data: MultiTaskDataModule,
    trainer: Callable[[str], L.Trainer],
    *,
    seeds: Iterable[int] = (0,),
    finish: Callable[[L.Trainer], None] | None = None,
    ckpt_path: str | None = None,
) -> float:
    """Train the network for all tasks without its twins, and return its score on the split "validation".

    A sweep maximises it. Each network is validated once more after training, with the weights that `compare` would test, so
    that the last `validate/score` in its log is the one that counts.

    Args:
        build: As for `compare`; it gets None, for all tasks.
        data: The data, with a split "validation".
        trainer: Makes a new Trainer for the run of this name, e.g. "multi-task/seed0".
        seeds: The seeds, a run for each.
        finish: Called with each Trainer when its run is over.
        ckpt_path: A checkpoint from which the run of a single seed is resumed.

    Returns:
        The mean of `validate/score` over the seeds.

    Raises:
        ValueError: `seeds` holds none, or one twice, or more than one with `ckpt_path`; the split "validation" makes no
            `validate/score`; or `build` or `trainer` makes nothing new.
    """
    values, chosen = [], refuse_seeds(seeds)
    if ckpt_path is not None and len(chosen) != 1:
        raise ValueError(f"`ckpt_path` must be of the run of one seed, got seeds {list(chosen)}. Name that one.")
    if len(chosen) > 1:
        refuse_generators(data)
    modules: NewModules[MultiTaskModule] = NewModules(build)
    trainers = NewTrainers(trainer, ["validation"])
    refuse_unscored(data, modules(None))
    for seed in chosen:
        L.seed_everything(seed, verbose=False)
        run, module = trainers(f"{ALL}/seed{seed}"), modules(None)
        values.append(validation_score(run, module, data, fit(run, module, data, ckpt_path)))
        if finish is not None:
            finish(run)
    return fmean(values)
