"""Which tasks can stop, and after how many validations."""

from __future__ import annotations

from collections.abc import Mapping

from .._checks import did_you_mean, require
from ..task import MultiTask


def stoppable_tasks(module: MultiTask) -> list[str]:
    """Return the names of the tasks that learn and are evaluated by a metric."""
    numbered = enumerate(module.tasks)
    return [task.name for i, task in numbered if task.main_metric() is not None and not module.routing.idle(i)]


def patience_of_tasks(patience: int | Mapping[str, int], module: MultiTask) -> dict[str, int]:
    """Return the patience of each task that may stop.

    Args:
        patience: A number for all tasks that can stop, or {task: number}.
        module: The model.

    Raises:
        ValueError: A task is unknown or has no metric, or no task has one.
    """
    names, stoppable = [task.name for task in module.tasks], stoppable_tasks(module)
    if not isinstance(patience, Mapping):
        require(len(stoppable) > 0, "patience", "of tasks with metrics", names, "Give one of them `metrics`.")
        return dict.fromkeys(stoppable, patience)
    for name in patience:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ValueError(f"`patience` must name tasks, got {name!r}; tasks are {names}. {hint}")
        if name not in stoppable:
            raise ValueError(
                f"`patience` must name tasks with metrics, got {name!r}, which is not evaluated. Leave it out, or give it `metrics`."
            )
    return dict(patience)
