"""Looks at a split before anything is trained, as training looks at its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..task import Task
from ._copies import warn_of_copies
from ._heads import infer_heads
from ._inspection import inspecting
from ._label_counts import LabelCounts
from ._readers import readers_of
from ._source_inputs import tokenizer_of
from ._splits import Splits

_LEAST = 2
"""Labels without which a figure of a split says nothing; R² is not defined on fewer."""


def check_split(data: Any, module: Any, split: str) -> None:
    """Check a split of a data module's sources against the tasks of a module, which stay as they are.

    Raises:
        ValueError: The split does not fit; the message names source, row and column, and a remedy.
    """
    tasks = [_own_copy(task) for task in module.tasks]
    readers = readers_of(tasks, data.sources)
    tokenizer = copy.deepcopy(tokenizer_of(data.tokenizer, module))
    with inspecting(data.sources, readers, module, (split,), tokenizer, data.not_inputs) as inputs:
        infer_heads(data.sources, readers)
        splits = Splits(data.sources, readers)
        splits.read(split, split, inputs)
        counts = splits.check(split, getattr(module.encoder, "vocabulary", None))
        warn_of_copies(data.sources, readers, [split])
    for name, of in readers.items():
        for task in of:
            _refuse_few(task, name, split, counts)


def _own_copy(task: Task) -> Task:
    made = copy.copy(task)
    made.head = copy.deepcopy(task.head)
    return made


def _refuse_few(task: Task, source: str, split: str, counts: Mapping[str, LabelCounts]) -> None:
    """Check that a task that is evaluated has labels enough for a metric."""
    if task.auxiliary or task.metrics == [] or task.name not in counts:
        return
    of = counts[task.name]
    least = 1 if task.known_head().per_position else _LEAST  # a row has many words
    if of.labelled < least and of.seen == of.rows:
        raise ValueError(
            f"Task {task.name!r} must have at least {least} labels in split {split!r} of source {source!r} for its metrics, got "
            f"{of.labelled} in {of.rows} rows of column {task.column!r}. Add labelled rows, or mark the task as auxiliary."
        )
