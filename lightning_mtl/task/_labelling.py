"""The labels of all tasks that read one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._batch_columns import ROWS
from ._task import Task


def label_tasks(tasks: Sequence[Task], columns: dict[str, Any], where: str = "row") -> None:
    """Convert the targets of several tasks in a batch into the forms of their heads, and note the rows that have a label.

    Each task reads its column as it was given, whatever other tasks make of it. Labels are written to `columns[task.column]`; where
    tasks code one column in different ways, each has a column of its own in its place (see `Task.labels_in`).

    Args:
        tasks: The tasks that read the source.
        columns: The batch of the source.
        where: What a row is called in an error message.

    Raises:
        ValueError: A label of the wrong shape or out of a head's range, with its row and value.

    Example:
        >>> from lightning_mtl import Multiclass, Regression
        >>> tasks = [Task("kind", target="stars", head=Multiclass(2, names=[1, 5])), Task("stars", head=Regression())]
        >>> batch = {"stars": torch.tensor([5, 1])}
        >>> label_tasks(tasks, batch)
        >>> [task.labels_in(batch) for task in tasks]
        [tensor([1, 0]), tensor([5., 1.])]
    """
    read: dict[str, list[tuple[Task, Tensor]]] = {}
    taken = _taken(tasks)
    for task in tasks:
        labels, rows = task.read(columns, where, taken)
        if labels is not None:
            read.setdefault(task.column, []).append((task, labels))
        if rows is not None:
            columns.setdefault(ROWS, {})[task.name] = rows
    for column, of in read.items():
        _write(columns, column, of)


def _taken(tasks: Sequence[Task]) -> set[str]:
    """Return the columns that are targets of single tasks, where some task has several; its name may be one of them."""
    several = any(len(task.columns) > 1 for task in tasks)
    return {column for task in tasks for column in task.columns} if several else set()


def _write(columns: dict[str, Any], column: str, labels: Sequence[tuple[Task, Tensor]]) -> None:
    """Write the labels that were made of a column: once where they are equal, so that no batch grows."""
    first = labels[0][1]
    if all(of is first or (of.dtype is first.dtype and torch.equal(of, first)) for _, of in labels):
        columns[column] = first
        return
    columns.pop(column, None)
    columns.update({task.own_column: of for task, of in labels})
