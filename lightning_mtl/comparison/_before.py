"""What networks will need of the data, looked at before the first one is trained."""

from __future__ import annotations

import copy

import lightning as L

from .._lightning import callbacks_of
from ..data import MultiTaskDataModule
from ..modules import MultiTaskModule
from ..task import Task
from ._new_modules import scored_tasks


def monitors_validation(trainer: L.Trainer) -> bool:
    """Return whether a callback of a Trainer, e.g. one that keeps the best checkpoint, waits for results of the validation."""
    watched = any(str(getattr(of, "monitor", "")).startswith("validate/") for of in callbacks_of(trainer))
    return watched and not trainer.fast_dev_run  # type: ignore[attr-defined]


def refuse_split(data: MultiTaskDataModule, module: MultiTaskModule, split: str) -> None:
    """Check that each task that has a metric can be measured on a split.

    Args:
        data: The data.
        module: The network for all tasks.
        split: The split.

    Raises:
        ValueError: A source has no such split, or its rows do not fit: an unknown class, an infinite number, too few labels.
    """
    for task in scored_tasks(module):
        source = task.resolve(data.sources)
        if split not in data.sources[source].splits:
            raise ValueError(
                f"Source {source!r} must have a split {split!r}, on which task {task.name!r} is measured, got "
                f"{list(data.sources[source].splits)}. Add it to the source, e.g. by `lightning_mtl.split(rows)`."
            )
    data.check_split(module, split)


def refuse_unscored(data: MultiTaskDataModule, module: MultiTaskModule) -> None:
    """Check that the split "validation" will make a `validate/score`: that of one task is enough.

    Raises:
        ValueError: It will make none.
    """
    tasks = scored_tasks(module)
    if not tasks:
        raise ValueError(
            "`build` must make a module with at least one task that has `metrics`, got none. Leave `metrics` out for those that fit "
            "the head."
        )
    try:
        refuse_split(data, module, "validation")
    except ValueError as error:
        if len(tasks) == 1 or not any(_fits(data, module, task) for task in tasks):
            raise error


def _fits(data: MultiTaskDataModule, module: MultiTaskModule, task: Task) -> bool:
    """Return whether the split "validation" can measure this task."""
    alone = copy.copy(module)
    alone.tasks = (task,)
    try:
        refuse_split(data, alone, "validation")
    except ValueError:
        return False
    return True
