"""Which tasks read which source."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..task import Task


def readers_of(tasks: Sequence[Task], sources: Collection[str]) -> dict[str, list[Task]]:
    """Return the tasks that read each source; a source that no task reads is left out, unless there are no tasks at all.

    Raises:
        ValueError: A task names a source that does not exist.
    """
    reads = {task.name: task.resolve(sources) for task in tasks if not is_idle(task, sources)}
    return {
        name: [task for task in tasks if reads.get(task.name) == name]
        for name in sources
        if name in reads.values() or not tasks
    }


def is_idle(task: Task, sources: Collection[str]) -> bool:
    """Return whether a task has no data here and needs none, because its head is frozen."""
    absent = task.source is not None and task.source not in sources
    return absent and task.head is not None and not any(p.requires_grad for p in task.head.parameters())
