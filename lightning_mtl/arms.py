"""A comparison of two networks for the same tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import lightning as L

from .comparison import Comparison, Cost, TaskComparison, TaskScore, costs_of, refuse_generators, run_arm
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
) -> Comparison:
    """Train two networks for the same tasks, and test how much each task gains or loses from the first to the second.

    For every seed both get the same data in the same order, the same number of steps, and the same seed; see `compare`.

    Args:
        arms: {name: makes a new module}; the first is the baseline of the second.
        data: The data, with a split "test".
        trainer: Makes a new Trainer for the run of this name, e.g. "levels/seed0".
        seeds: The seeds; at least two for an interval, five or more for a useful one.
        also: Results "<name>/<metric>" that the modules may log as "test/<name>/<metric>" beside those of their tasks, e.g. of
            several tasks at once; higher is better.
        finish: Called with each Trainer when its run is over, e.g. to close its logger.

    Returns:
        For each task its first metric on the split "test" in both arms, and `delta_m`.

    Raises:
        ValueError: There are not two arms, or no seed, or the arms have other tasks, or none with a metric.
    """
    if len(arms) != 2:
        raise ValueError(f"`arms` must be two networks, got {list(arms)}. Compare others one by one.")
    chosen = tuple(seeds)
    if not chosen:
        raise ValueError("`seeds` must hold at least one seed, got none.")
    refuse_generators(data)
    first, second = arms
    found: dict[str, list[dict[str, TaskScore]]] = {first: [], second: []}
    costs: dict[str, list[Sequence[Cost | None]]] = {first: [], second: []}
    sizes: dict[str, int] = {}
    own_summary = data.summary
    try:
        for seed in chosen:
            for name in arms:
                run = run_arm(name, arms[name], data, trainer, seed, finish, also)
                found[name].append(run.scores)
                costs[name].append([run.cost])
                sizes[name] = sum(p.numel() for p in run.module.parameters())
                data.summary = False
    finally:
        data.summary = own_summary
    return Comparison(chosen, _paired(found), (first, second), (sizes[first], sizes[second]), costs_of(costs))


def _paired(found: Mapping[str, Sequence[Mapping[str, TaskScore]]]) -> tuple[TaskComparison, ...]:
    (first, ones), (second, others) = found.items()
    if not ones[0] or set(ones[0]) != set(others[0]):
        raise ValueError(
            f"`arms` must be networks for the same tasks, with `metrics`, got {first!r} with {list(ones[0])} and {second!r} with "
            f"{list(others[0])}. Give both the same tasks."
        )
    return tuple(
        TaskComparison(
            task, of.metric, of.sign, tuple(run[task].value for run in ones), tuple(run[task].value for run in others)
        )
        for task, of in ones[0].items()
    )
