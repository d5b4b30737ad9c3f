"""What the user says of each task: the weight of its loss, the dropout and the rate of its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning_mtl import FineTuning, Task
from lightning_mtl._checks import did_you_mean

Numbers = Mapping[str, float] | None
"""{task: number}, for the tasks that have one of their own."""


def tasks_of(names: Sequence[str], targets: Sequence[str], *, weights: Numbers, dropouts: Numbers) -> list[Task]:
    """Describe tasks whose heads follow from the data.

    Args:
        names: The tasks to train: all targets, or one, for a twin.
        targets: All tasks there are.
        weights: What their losses are multiplied with; 1 for the others.
        dropouts: What their heads drop; nothing for the others.

    Raises:
        ValueError: A name that is no target.

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
    """Give the optimizer the rates of the heads that are trained.

    Args:
        optimizer: The optimizer of all tasks, which may hold rates too.
        names: The tasks to train; a twin has none of the others' heads.
        targets: All tasks there are.
        rates: {task: rate of its head}.

    Raises:
        ValueError: A name that is no target.

    Example:
        >>> with_rates(FineTuning(), ["mood"], ["mood", "topic"], {"mood": 0.01, "topic": 0.1}).rates
        {'mood': 0.01}
    """
    found = {**(optimizer.rates or {}), **(rates or {})}
    refuse_unknown("model.rates", found, targets, "tasks")
    return replace(optimizer, rates={name: rate for name, rate in found.items() if name in names} or None)


def refuse_unknown(option: str, wanted: Any, there: Sequence[str], kind: str) -> None:
    """Look whether all names that an option holds are there.

    Raises:
        ValueError: One is not; with the nearest name.
    """
    for name in wanted:
        if name not in there:
            hint = did_you_mean(name, there)
            raise ValueError(f"`--{option}` must name {kind}, got {name!r}; {kind} are {list(there)}. {hint}")
