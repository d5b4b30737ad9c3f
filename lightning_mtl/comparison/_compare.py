"""One network against its single-task twins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

import lightning as L

from ..data import MultiTaskDataModule
from ..modules import MultiTaskModule
from ._result import Comparison
from ._runs import fit, refuse_generators, validation_score
from ._task_result import ALL
from ._twin_cache import TwinCache
from ._twins import Twins, to_comparison
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
) -> Comparison:
    """Train one network for all tasks and one for each, and test how much each task gains or loses by sharing.

    For every seed the arms get the same data in the same order, the same number of steps, and the same seed. A network is
    tested with the weights of its best checkpoint where its Trainer monitors a metric, each arm with its own, and otherwise
    with its last weights.

    Args:
        build: Makes a new module for the tasks with these names; for all tasks where it gets None.
        data: The data, with a split "test".
        trainer: Makes a new Trainer for the run of this name, e.g. "multi-task/seed0" or "topic/seed3".
        seeds: The seeds; at least two for an interval, five or more for a useful one.
        finish: Called with each Trainer when its run is over, e.g. to close its logger.
        two_stage: Whether to fine-tune each task by itself too, from the tested weights of the network for all tasks: its encoder
            and the task's head, with a new optimizer. True gives it half of a twin's epochs (or steps, where `max_steps` ends
            training), a number that share of them, rounded up. Its runs are called "two-stage-topic/seed3".
        cache: A folder that keeps the result of each twin, and returns it where the same twin would be trained: with the same
            task, head, loss, encoder, initial weights, optimizer, data, seed, settings of the Trainer and versions of the packages. The
            source of your classes counts too, but not all that they call: empty the folder when you change such code. A twin for
            which this cannot be known (its rows are a stream, a ready DataLoader) is trained and not kept. To find out whether a
            twin is the same, `build` and `trainer` are called for it, `finish` not. The network for all tasks is always trained.

    Returns:
        For each task its first metric on the split "test" in all arms, `delta_m`, and what the arms cost.

    Raises:
        ValueError: There is no seed, no task with a metric, or a task's metric is missing from the results; or `two_stage` is no
            share, or a twin cannot load the weights; or `cache` is a file.
    """
    chosen, share = tuple(seeds), fine_tuning_share(two_stage)
    if not chosen:
        raise ValueError("`seeds` must hold at least one seed, got none.")
    refuse_generators(data)
    own_steps, own_summary, own_columns = data.steps_per_epoch, data.summary, data.not_inputs
    # Without this, a twin would read the targets of the other tasks as inputs.
    data.not_inputs = own_columns | {column for task in build(None).tasks for column in task.columns}
    twin_cache = None if cache is None else TwinCache(cache)
    twins = Twins(build, data, trainer, finish, share, twin_cache)
    try:
        found = [twins.run(seed) for seed in chosen]
    finally:
        data.steps_per_epoch, data.summary, data.not_inputs = own_steps, own_summary, own_columns
    return to_comparison(chosen, found, twin_cache)


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
        ValueError: There is no seed, or more than one with `ckpt_path`, or no `validate/score`.
    """
    values, chosen = [], tuple(seeds)
    if ckpt_path is not None and len(chosen) != 1:
        raise ValueError(f"`ckpt_path` must be of the run of one seed, got seeds {list(chosen)}. Name that one.")
    if len(chosen) > 1:
        refuse_generators(data)
    for seed in chosen:
        L.seed_everything(seed, verbose=False)
        run, module = trainer(f"{ALL}/seed{seed}"), build(None)
        values.append(validation_score(run, module, data, fit(run, module, data, ckpt_path)))
        if finish is not None:
            finish(run)
    if not values:
        raise ValueError("`seeds` must hold at least one seed, got none.")
    return fmean(values)
