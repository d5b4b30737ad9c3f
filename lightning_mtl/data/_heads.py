"""The heads of tasks before training: those that were not given are inferred, and all learn from the training labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..inputs import Inputs
from ..task import Task
from ._class_names import refuse_other_coding, set_class_names
from ._doubts import refuse_doubtful
from ._examples import Examples
from ._head_inference import head_for
from ._label_counts import known_labels
from ._source import Source


def infer_heads(sources: Mapping[str, Source], readers: Mapping[str, Sequence[Task]]) -> None:
    """Infer the heads that were not given, and the names of classes, from the training splits of the tasks' sources.

    Raises:
        ValueError: No head fits a column, or splits code their labels in different ways.
    """
    for name, tasks in readers.items():
        for task in tasks:
            _infer_head(sources[name], task, name)


def _infer_head(source: Source, task: Task, name: str) -> None:
    if "train" not in source.splits or (
        task.head is not None and task.head.fitted and not source.readings.at_hand("train")
    ):
        task.known_head()
        return
    columns, features = source.labels("train", task.columns, name)
    if columns is None:
        return
    if not getattr(task.head, "names", None):
        cells = source.readings.of("train").cells(task.columns)
        refuse_doubtful(source.splits["train"], task.columns, source.cells, target=True, read=cells.__getitem__)
    if task.head is None:
        task.take(head_for(task, columns, features, words=source.words is not None))
    set_class_names(task, columns, features)
    if getattr(task.head, "names", None) and len(task.columns) == 1:
        texts = str in {*map(type, columns[task.columns[0]])}
        for split in source.splits:
            _refuse_other_coding(source, task, name, split, texts)


def _refuse_other_coding(source: Source, task: Task, name: str, split: str, texts: bool) -> None:
    """Check the coding of a split, where its labels are at hand."""
    if split == "predict" or not len(source.splits[split]) or not source.readings.at_hand(split):
        return
    if not set(task.columns) <= set(source.columns(split)):
        return
    columns, features = source.labels(split, task.columns, name)
    if columns is not None:
        (first, *_) = task.columns
        refuse_other_coding(task, columns[first], features.get(first), f"source {name!r}, split {split!r}", texts=texts)


def fit_heads(
    sources: Mapping[str, Source],
    readers: Mapping[str, Sequence[Task]],
    train: Mapping[str, Examples],
    inputs: Mapping[str, Inputs],
) -> None:
    """Fit heads to the training labels, once for each model: weights of classes, the scale of numbers.

    Args:
        sources: The sources.
        readers: The tasks that read each source.
        train: Training splits that were read.
        inputs: How the rows of each source become tensors.
    """
    for name, tasks in readers.items():
        for task in tasks:
            head = task.known_head()
            if (not head.fitted or task.lacks_constants) and "train" in sources[name].splits:
                examples = train.get(name) or sources[name].examples("train", inputs[name], task.columns)
                reading = sources[name].readings.of("train", examples.inputs)
                labels = known_labels(task, reading, f"source {name!r}, row")
                try:
                    task.fit(labels)
                except ValueError as error:
                    raise ValueError(f"Column {task.column!r} of task {task.name!r}: {error}") from error
