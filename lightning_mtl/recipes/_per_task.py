"""Options for each task: the weight of its loss, and the dropout and the learning rate of its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning_mtl import FineTuning, Task
from lightning_mtl._checks import did_you_mean

Numbers = Mapping[str, float] | None
"""{task: number}, for the tasks that do not use the default."""


def tasks_of(names: Sequence[str], targets: Sequence[str], *, weights: Numbers, dropouts: Numbers) -> list[Task]:
    """Return tasks whose heads are derived from the data.

    Args:
        names: The tasks to train: all targets, or one for a single-task baseline.
        targets: All tasks.
        weights: Factors of their losses; 1 for the others.
        dropouts: Dropout of their heads; 0 for the others.

    Raises:
        ValueError: A name is no target.

    Example:
        >>> tasks_of(["mood"], ["mood", "topic"], weights={"mood": 0.5}, dropouts={"topic": 0.1})[0].weight
        0.5
    """
    refuse_unknown("model.tasks", names, targets, "tasks")
    refuse_unknown("model.weights", weights or (), targets, "tasks")
    refuse_unknown("model.dropouts", dropouts or (), targets, "tasks")
    return [
        Task(name, weight=(weights or {}).get(name, 1.0), dropout=(dropouts or {}).get(name, 0.0)) for name in names
    ]


def with_rates(optimizer: FineTuning, names: Sequence[str], targets: Sequence[str], rates: Numbers) -> FineTuning:
    """Return the optimizer with the learning rates of the heads that are trained.

    Args:
        optimizer: The optimizer of all tasks, which may have rates too.
        names: The tasks to train; a single-task baseline has only one of the heads.
        targets: All tasks.
        rates: {task: learning rate of its head}.

    Raises:
        ValueError: A name is no target.

    Example:
        >>> with_rates(FineTuning(), ["mood"], ["mood", "topic"], {"mood": 0.01, "topic": 0.1}).rates
        {'mood': 0.01}
    """
    found = {**(optimizer.rates or {}), **(rates or {})}
    refuse_unknown("model.rates", found, targets, "tasks")
    return replace(optimizer, rates={name: rate for name, rate in found.items() if name in names} or None)


def refuse_unknown(option: str, wanted: Any, there: Sequence[str], kind: str) -> None:
    """Check that all names of an option exist.

    Raises:
        ValueError: One does not; the message suggests the most similar name.
    """
    for name in wanted:
        if name not in there:
            hint = did_you_mean(name, there)
            raise ValueError(f"`--{option}` must name {kind}, got {name!r}; {kind} are {list(there)}. {hint}")
