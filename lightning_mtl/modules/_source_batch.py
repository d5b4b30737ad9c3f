"""The part of a batch that comes from one source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..gradients import Step, TaskResult
from ..task import ROWS, Batch, Loss, Routing, Task
from ._learner import labelled

Answer = tuple[Tensor, Any, Tensor | None]
"""A head's output, the labels, and the numbers of the rows (or positions) that have one."""


@dataclass(slots=True)
class SourceBatch:
    """The part of a batch that comes from one source, and the tasks that it is run for.

    Args:
        columns: All its columns.
        inputs: The columns that the encoder reads.
        read: The tasks whose features the encoder computes.
        present: Those that have labels.
        sharded: Whether heads are run for the sake of other ranks.
    """

    columns: dict[str, Any]
    inputs: dict[str, Any]
    read: Sequence[int]
    present: Sequence[int]
    sharded: bool

    @property
    def answered(self) -> Sequence[int]:
        """The tasks whose heads are run."""
        return self.read if self.sharded else self.present

    def labels(self, task: Task) -> tuple[Any, Tensor | None]:
        """Return a task's labels, and the numbers of the rows (or positions) that have one; None is all of them."""
        return task.labels_in(self.columns), self.columns[ROWS].get(task.name)


def source_batches(batch: Batch, routing: Routing, *, sharded: bool, training: bool) -> list[SourceBatch]:
    """Return the parts of a batch that are run."""
    parts = []
    for source, columns in routing.label(batch).items():
        read: Sequence[int] = routing.readers(source)
        present = routing.present(source, columns)
        inputs = routing.inputs(source, columns)
        parts.append(SourceBatch(columns, inputs, read if sharded else present or read, present, sharded))
    # In training a batch without any label runs the encoder all the same, for the sake of the other ranks.
    with_labels = [part for part in parts if part.present or sharded]
    return with_labels or (parts[:1] if training else [])


def add_results(
    step: Step,
    number: int,
    part: SourceBatch,
    answers: dict[int, Answer],
    tasks: Sequence[Task],
    losses: Sequence[Loss],
) -> None:
    """Add to a step the losses of the tasks of one source.

    Args:
        step: The step.
        number: The number of the source, whose features come from one forward pass.
        part: The part of the batch.
        answers: What the heads of its tasks returned.
        tasks: All tasks.
        losses: Their losses.
    """
    for i, (prediction, target, rows) in answers.items():
        if i not in part.present:
            step.idle[i] = 0 * prediction.masked_fill(prediction.isinf(), 0).sum()
            continue
        prediction, target, sequence = labelled(tasks[i], prediction, target, rows)
        loss = losses[i](prediction, target)
        loss = loss.mean() if loss.ndim else loss
        step.results.append(TaskResult(i, loss, prediction, target, sequence, number))
