"""How many labels a split of a source holds for a task, and how they are spread over the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from torch import Tensor

from ..heads import Head
from ..inputs import label_values
from ..task import Task
from ._examples import Examples

SCAN = 10_000
"""Rows that are read where a dataset has no columns that can be read at once."""


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


def count_labels(task: Task, examples: Examples, where: str) -> LabelCounts:
    """Read a task's labels, and count them.

    Raises:
        ValueError: A label out of the head's range, with source, split, row and value.
    """
    values, rows = _labelled(task, examples, where)
    head = task.known_head()
    known = _known(values, rows, head)
    labelled = int((values >= 0).any(1).sum()) if head.per_position else len(known)
    found = LabelCounts(len(examples), len(values), labelled)
    if not (head.dtype.is_floating_point or head.points) and known.ndim == 1 and len(known):
        counts = torch.bincount(known)
        found.classes = int((counts > 0).sum())
        found.majority = counts.max().item() / len(known)
    return found


def known_labels(task: Task, examples: Examples, where: str) -> Tensor:
    """Return the labels that are not missing, in the head's form: [labels], [labels, outputs], or those of words, [words]."""
    values, rows = _labelled(task, examples, where, len(examples))
    return _known(values, rows, task.known_head())


def _labelled(task: Task, examples: Examples, where: str, most: int = SCAN) -> tuple[Tensor, Tensor | None]:
    values, rows = task.read(_columns(examples, task.columns, most), where, coded=False)
    assert values is not None, "the columns are there"
    return values, rows


def _known(values: Tensor, rows: Tensor | None, head: Head) -> Tensor:
    values = values.flatten() if head.per_position else values
    return values if rows is None else values[rows]


def _columns(examples: Examples, targets: Sequence[str], most: int) -> dict[str, Any]:
    """Return target columns: all rows of a Hugging Face dataset; of other rows, at most so many."""
    if isinstance(examples.rows, datasets.Dataset) and examples.inputs.whole is None:
        rows = examples.rows.select_columns(list(targets))[:]
        return {target: label_values(list(rows[target])) for target in targets}
    seen = min(len(examples), most)
    batches = [examples[list(range(i, min(i + 1000, seen)))] for i in range(0, seen, 1000)]
    columns: dict[str, Any] = {}
    for target in targets:
        parts = [batch[target] for batch in batches]
        whole = all(isinstance(part, Tensor) for part in parts)
        columns[target] = torch.cat(parts) if whole else [value for part in parts for value in _listed(part)]
    return columns


def _listed(part: Any) -> list[Any]:
    values: list[Any] = part.tolist() if isinstance(part, Tensor) else part
    return values
