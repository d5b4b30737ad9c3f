"""Looks at a split before anything is trained, as training looks at its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..task import Task
from ._heads import infer_heads
from ._label_counts import LabelCounts
from ._readers import readers_of
from ._source_inputs import fitted_tokenizer, inputs_of
from ._splits import Splits

_LEAST = 2
"""Labels without which a figure of a split says nothing; R² is not defined on fewer."""


def check_split(data: Any, module: Any, split: str) -> None:
    """Check a split of a data module's sources against the tasks of a module, which stay as they are.

    Raises:
        ValueError: The split does not fit; the message names source, row and column, and a remedy.
    """
    tasks = [_own_copy(task) for task in module.tasks]
    sources = data.sources
    readers = readers_of(tasks, sources)
    tokenizer = copy.deepcopy(data.tokenizer or getattr(module.encoder, "tokenizer", None))
    tokenizer = fitted_tokenizer(tokenizer, None, [sources[name] for name in readers])
    columns = {name: [of for task in tasks for of in task.columns] for name, tasks in readers.items()}
    hidden = data.not_inputs.union(*columns.values())
    inputs = {name: inputs_of(sources[name], name, module, tokenizer, columns[name], hidden) for name in readers}
    infer_heads(sources, readers)
    splits = Splits(sources, readers)
    splits.read(split, split, inputs)
    counts = splits.check(split, getattr(module.encoder, "vocabulary", None))
    for name, of in readers.items():
        for task in of:
            _refuse_few(task, name, split, counts)


def _own_copy(task: Task) -> Task:
    made = copy.copy(task)
    made.head = copy.deepcopy(task.head)
    return made


def _refuse_few(task: Task, source: str, split: str, counts: Mapping[str, LabelCounts]) -> None:
    """Check that a task that is evaluated has labels enough for a metric."""
    if task.auxiliary or task.name not in counts:
        return
    of = counts[task.name]
    if of.labelled < _LEAST and of.seen == of.rows:
        raise ValueError(
            f"Task {task.name!r} must have at least {_LEAST} labels in split {split!r} of source {source!r} for its metrics, got "
            f"{of.labelled} in {of.rows} rows of column {task.column!r}. Add labelled rows, or mark the task as auxiliary."
        )
