"""How many labels a split of a source holds for a task, and how they are spread over the classes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ..task import Task
from ._reading import Reading


@dataclass
class LabelCounts:
    """How many labels a split of a source holds for a task.

    Args:
        rows: Rows of the split.
        seen: Rows that were read.
        labelled: Those of them that have a label.
        classes: Different labels, for heads of one class per row; else None.
        majority: Share of the majority class, for the same heads.
    """

    rows: int
    seen: int
    labelled: int
    classes: int | None = None
    majority: float | None = None

    @property
    def estimate(self) -> int:
        """How many rows of the split have a label, estimated by those that were read."""
        return self.labelled * self.rows // max(self.seen, 1)


def count_labels(task: Task, reading: Reading, where: str) -> LabelCounts:
    """Read a task's labels, and count them.

    Raises:
        ValueError: A label out of the head's range, with source, split, row and value.
    """
    values, known = _labels(task, reading, where)
    head = task.known_head()
    labelled = int((values >= 0).any(1).sum()) if head.per_position else len(known)
    found = LabelCounts(reading.total, len(values), labelled)
    if not (head.dtype.is_floating_point or head.points) and known.ndim == 1 and len(known):
        counts = torch.bincount(known)
        found.classes = int((counts > 0).sum())
        found.majority = counts.max().item() / len(known)
    return found


def known_labels(task: Task, reading: Reading, where: str) -> Tensor:
    """Return the labels that are not missing, in the head's form: [labels], [labels, outputs], or those of words, [words]."""
    return _labels(task, reading, where)[1]


def _labels(task: Task, reading: Reading, where: str) -> tuple[Tensor, Tensor]:
    """Return the labels of all rows that are read, and those that are not missing.

    Raises:
        ValueError: A label out of the head's range, with its row, or no labels.
    """
    try:
        values, rows = task.read(reading.targets(task.columns), where, coded=False)
    except ValueError as error:
        if not reading.sampled:
            raise
        place = re.compile(rf"{re.escape(where)} (\d+)\b")
        told = place.sub(lambda found: f"{where} {reading.numbers[int(found[1])]}", str(error))
        raise ValueError(told) from error
    if values is None:
        raise ValueError(
            f"Column {task.column!r} of task {task.name!r} must be in a batch: {where.removesuffix(', row')} has none that `collate` returns. "
            "Return it there."
        )
    known = values.flatten() if task.known_head().per_position else values
    return values, known if rows is None else known[rows]
