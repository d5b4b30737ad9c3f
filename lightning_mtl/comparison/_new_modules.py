"""The modules that the caller builds, one for each run."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from torch import nn
from torchmetrics import Metric

from ..modules import MultiTaskModule
from ..task import Task

M = TypeVar("M", bound=MultiTaskModule)


class NewModules(Generic[M]):
    """Builds the modules of runs, and checks that each is a new one.

    Args:
        build: The caller's function; it may be anything.
        name: The argument that holds it, for error messages.
    """

    def __init__(self, build: Any, name: str = "build") -> None:
        if not callable(build) or isinstance(build, nn.Module):
            raise ValueError(
                f"`{name}` must be a function that makes a module, got {type(build).__name__}. Write a function, or "
                "`lambda names: ...`."
            )
        self._build, self._name = build, name
        self._seen: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def __call__(self, *args: Any) -> M:
        """Build a module.

        Raises:
            ValueError: It is none, or it has the weights of an earlier one.
        """
        made: M = self._build(*args)
        if not isinstance(made, MultiTaskModule):
            raise ValueError(
                f"`{self._name}` must make a MultiTaskModule, got {type(made).__name__}. Return the module that it makes."
            )
        parts = [made, *(weight for weight in made.parameters() if weight.requires_grad)]
        if any(self._seen.get(id(part)) is part for part in parts):
            raise ValueError(
                f"`{self._name}` must make a new module for each run, got one with weights of an earlier one: it would start with what "
                "that has learned. Make the encoder within the function too."
            )
        self._seen.update((id(part), part) for part in parts)
        return made


def scored_tasks(module: MultiTaskModule) -> list[Task]:
    """Return the tasks of a module that have a metric, so that networks can be compared by them."""
    return [task for task in module.tasks if not task.auxiliary and has_metrics(task)]


def has_metrics(task: Task) -> bool:
    """Return whether a task has metrics: those that it was given, or those that fit its head."""
    return task.metrics is None or isinstance(task.metrics, Metric) or len(task.metrics) > 0


def refuse_other_tasks(module: MultiTaskModule, wanted: Task, there: Sequence[str], name: str = "build") -> None:
    """Check that a twin learns the task that it was built for, and no other, with the same main metric.

    Args:
        module: The twin.
        wanted: The task, as the network for all tasks has it.
        there: The names of all tasks, for the remedy.
        name: The argument that built the twin, for error messages.

    Raises:
        ValueError: It learns others, or is measured otherwise.
    """
    found = [task.name for task in module.tasks]
    if found != [wanted.name]:
        raise ValueError(
            f"`{name}` must make a module for the tasks that it is asked for, got {found} for [{wanted.name!r}]. Make only those "
            f"whose names it gets, and all of {list(there)} for None."
        )
    refuse_other_metric(wanted, module.tasks[0], name, ("all tasks", "it alone"))


def refuse_other_metric(one: Task, other: Task, name: str, networks: tuple[str, str]) -> None:
    """Check that a task has the same first metric in two networks, as far as it is known before the data are read.

    Args:
        one: The task in one network.
        other: The task in the other.
        name: The argument that built them, for error messages.
        networks: What the networks are called there.

    Raises:
        ValueError: It has another.
    """
    ours, theirs = _main(one), _main(other)
    if ours is not None and theirs is not None and ours != theirs:
        raise ValueError(
            f"`{name}` must give task {one.name!r} the same first metric in all networks, got {ours[0]!r} for {networks[0]} and "
            f"{theirs[0]!r} for {networks[1]}. Give both the same `metrics`."
        )


def _main(task: Task) -> tuple[str, int] | None:
    """Return the main metric, as far as it is known before the data are read."""
    return None if task.metrics is None and task.head is None else task.main_metric()
