"""The task that reads a source of episodes, and the head that it must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..data import Source
from ..families import Family
from ..heads import Multiclass, Regression
from ..task import Task


def episodic_task(name: str, sources: Mapping[str, Source | Family], tasks: Sequence[Task], ways: int) -> Task:
    """Return the task that reads a source; without a head it gets the one that fits.

    Args:
        name: Name of the source.
        sources: All sources.
        tasks: The tasks of the model.
        ways: Classes of an episode.

    Raises:
        ValueError: No task reads the source, or several do; or the head does not fit the episodes.
    """
    found = [task for task in tasks if task.resolve(sources) == name]
    if len(found) != 1:
        raise ValueError(
            f"Source {name!r} must be read by one task, whose `target` says what is to be learned, got {[task.name for task in found]}. "
            f"Name it there: Task(name, {name!r}), or leave the source out."
        )
    task, source = found[0], sources[name]
    if isinstance(source, Family) and task.column != "y":
        raise ValueError(
            f"`target` of task {task.name!r} must be 'y', the values of a family of functions, got {task.column!r}. Give "
            f"Task({task.name!r}, target='y')."
        )
    if task.head is None:
        task.take(Regression() if isinstance(source, Family) else Multiclass(ways))
    if not isinstance(source, Family):
        _refuse_head(task, ways)
    return task


def _refuse_head(task: Task, ways: int) -> None:
    """Reject a head that names or weighs classes, or that has another number of classes than an episode."""
    head: Any = task.known_head()
    for name in ("class_weight", "names"):
        if getattr(head, name, None) is not None:
            raise ValueError(
                f"`{name}` of the head of task {task.name!r} must be left out, since each episode numbers its classes anew, got "
                f"{getattr(head, name)!r}."
            )
    classes = {"multiclass": head.outputs, "binary": 2}.get(head.kind)
    if classes != ways:
        raise ValueError(
            f"`head` of task {task.name!r} must have as many classes as an episode has `ways`, {ways}, got "
            f"{type(head).__name__} with {head.outputs} outputs. Leave it out, or give Multiclass({ways})."
        )
