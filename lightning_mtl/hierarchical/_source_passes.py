"""The forward pass of one source of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..encoders import LevelledEncoder
from ..inputs import WORDS
from ..modules import SourceBatch
from ..task import Task
from ._forward import ForwardPass
from ._hierarchy import Hierarchy
from ._plan import rows_by_level


def forward_pass(
    hierarchy: Hierarchy,
    encoder: LevelledEncoder,
    heads: nn.ModuleDict,
    tasks: Sequence[Task],
    part: SourceBatch,
    share: float,
) -> ForwardPass:
    """Make the forward pass of a source.

    Args:
        hierarchy: The levels of the tasks.
        encoder: The encoder.
        heads: The heads.
        tasks: All tasks.
        part: The part of the batch from the source.
        share: The share of given labels in what is fed.
    """
    targets = {}
    if share:
        found = {i: tasks[i].labels_in(part.columns) for i in part.read}
        targets = {i: of for i, of in found.items() if of is not None}
    return ForwardPass(
        hierarchy,
        encoder,
        heads._modules,
        part.inputs,
        part.answered,
        plan=rows_by_level(hierarchy, tasks, part.columns, part.present),
        targets=targets,
        share=share,
        words=part.columns.get(WORDS),
    )


def labels_of(task: Task, number: int, part: SourceBatch, forward: ForwardPass) -> tuple[Any, Tensor | None]:
    """Return a task's labels in the order of the rows that its head was run for, and the numbers of those that have one.

    Args:
        task: The task.
        number: Its number.
        part: The part of the batch from its source.
        forward: The forward pass.
    """
    target, rows = part.labels(task)
    if target is None:
        return None, rows
    return forward.labels(number, target, rows, words=task.known_head().per_position)
