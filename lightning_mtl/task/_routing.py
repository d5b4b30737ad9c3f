"""Which task reads which source, and which columns of it are no inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch

from ..inputs import RAW, WORDS
from ._batch_columns import LEVELS, ROWS
from ._labelling import label_tasks
from ._precision import in_precision
from ._task import Task

Batch = Mapping[str, Any]
"""{source: {column: tensor}}; a source that has run out is None. For episodes see `MetaLearningModule`."""


class Routing:
    """Which source each task reads; known after `bind`, or from the first batches.

    Args:
        tasks: The tasks, in the order of their numbers.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tuple(tasks)
        self._readers: dict[str, tuple[int, ...]] = {}
        self._not_inputs: dict[str, set[str]] = {}
        self.fed = False
        """Whether a data module labels the batches."""
        self.every_task_every_step = False
        """Whether every step has labels for every task."""
        self.left_out: frozenset[int] = frozenset()
        """Tasks that are treated as if no batch had labels for them; empty during evaluation."""
        self.precision: torch.dtype | None = None
        """The precision in which the encoder reads real numbers, while that is known to matter; None: as they come."""

    def bind(
        self, sources: Iterable[str], reads: Mapping[str, str] | None = None, *, every_task_every_step: bool
    ) -> None:
        """Set which source each task reads.

        Data modules call it, and label their batches themselves; without one, `bind_batch` does it batch by batch.

        Args:
            sources: Names of all sources.
            reads: The source of each task that reads one. Default: the one that `Task.resolve` finds.
            every_task_every_step: Whether each step is known to have labels for each task.

        Raises:
            ValueError: A task reads a source that does not exist.
        """
        names = list(sources)
        self._bind(names, [task.resolve(names) if reads is None else reads.get(task.name) for task in self._tasks])
        self.fed, self.every_task_every_step = True, every_task_every_step

    def forget(self) -> None:
        """Forget what the tasks read."""
        self._readers, self._not_inputs, self.fed, self.every_task_every_step = {}, {}, False, False

    def bind_batch(self, batch: Iterable[str]) -> None:
        """Bind the sources of a batch too, unless a data module has named all sources.

        A task whose source has not occurred yet reads none.
        """
        if self.fed or all(name in self._readers for name in batch):
            return
        names = [*self._readers, *(name for name in batch if name not in self._readers)]
        reads = [
            None if task.source is not None and task.source not in names else task.resolve(names)
            for task in self._tasks
        ]
        self._bind(names, reads)

    def _bind(self, names: Sequence[str], reads: Sequence[str | None]) -> None:
        self._readers = {name: tuple(i for i, read in enumerate(reads) if read == name) for name in names}
        self._not_inputs = {name: self._hidden(self._readers[name]) for name in names}

    def _hidden(self, readers: Iterable[int]) -> set[str]:
        targets = {column for i in readers for column in self._tasks[i].label_columns}
        return {ROWS, LEVELS, WORDS, RAW, *targets}

    def readers(self, source: str) -> tuple[int, ...]:
        """Return the tasks that read this source.

        Raises:
            ValueError: No task reads it.
        """
        readers = self._readers.get(source)
        if not readers:
            raise ValueError(
                f"`batch` has source {source!r}, which no task reads; tasks read "
                f"{[name for name, tasks in self._readers.items() if tasks]}. Name it in a task, Task(name, {source!r}), "
                "or leave it out of the loader."
            )
        return readers

    def reads(self, source: str) -> tuple[int, ...]:
        """Return the tasks that read this source, if any."""
        return self._readers.get(source, ())

    @property
    def sources(self) -> list[str]:
        """Names of the sources that some task reads, as far as they are known."""
        return [name for name, readers in self._readers.items() if readers]

    def idle(self, task: int) -> bool:
        """Return whether the data module has no source for this task, so that the task is frozen."""
        return self.fed and not any(task in readers for readers in self._readers.values())

    def inputs(self, source: str, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns that the encoder reads: all except targets."""
        hidden = self._not_inputs[source]
        read = {name: column for name, column in columns.items() if name not in hidden}
        return read if self.precision is None else in_precision(read, self.precision)

    @contextmanager
    def reading_in(self, precision: torch.dtype | None) -> Iterator[None]:
        """Return inputs in this precision, within this context."""
        before, self.precision = self.precision, precision
        try:
            yield
        finally:
            self.precision = before

    @contextmanager
    def no_task_left_out(self) -> Iterator[None]:
        """Include the tasks that are left out of training, within this context."""
        left_out, self.left_out = self.left_out, frozenset()
        try:
            yield
        finally:
            self.left_out = left_out

    def present(self, source: str, columns: Mapping[str, Any]) -> Sequence[int]:
        """Return the tasks that have labels in a batch of this source."""
        read: Sequence[int] = self.readers(source)
        if self.left_out:
            read = [i for i in read if i not in self.left_out]
        rows = columns[ROWS]
        return [i for i in read if len(rows.get(self._tasks[i].name, "all"))] if rows else read

    def label(self, batch: Any) -> dict[str, dict[str, Any]]:
        """Record in a batch which rows have labels (see `Task.label`), unless the loader has done so."""
        if not isinstance(batch, dict):
            self._refuse_batch(batch)
        self.bind_batch(batch)
        return {name: self._label(name, part) for name, part in batch.items() if part is not None}

    def _label(self, source: str, columns: Any) -> dict[str, Any]:
        if not isinstance(columns, dict):
            self._refuse_batch({source: columns})
        if ROWS in columns:
            return columns
        labelled = {**columns, ROWS: {}}
        label_tasks([self._tasks[i] for i in self.readers(source)], labelled, "in a batch, row")
        return labelled

    def _refuse_batch(self, batch: Any) -> NoReturn:
        shown = (
            {name: type(part).__name__ for name, part in batch.items()}
            if isinstance(batch, dict)
            else type(batch).__name__
        )
        raise ValueError(
            f"A batch must be {{source: {{column: tensor}}}}, dictionaries both, got {shown}. Use `MultiTaskDataModule`, or "
            "CombinedLoader({source: loader}, 'max_size_cycle' or, to evaluate, 'max_size')."
        )
