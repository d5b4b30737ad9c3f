"""What tasks learn of their labels before training: heads, names, weights of classes, scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..inputs import Inputs
from ..task import Task
from ._examples import Examples
from ._head_inference import complete, head_for, refuse_other_coding
from ._inspection import known_labels
from ._source import Source


def settle(sources: Mapping[str, Source], tasks: Mapping[str, Sequence[Task]]) -> None:
    """Find the heads that were not given, and the names of labels, from the training splits of the tasks' sources."""
    for name, readers in tasks.items():
        for task in readers:
            _settle(sources[name], task, name)


def _settle(source: Source, task: Task, name: str) -> None:
    if "train" not in source.splits:
        task.known_head()
        return
    columns, features = source.labels("train", task.columns, name)
    if columns is None:
        return
    if task.head is None:
        task.take(head_for(task, columns, features, words=source.words is not None))
    complete(task, columns, features)
    texts = any(isinstance(value, str) for value in columns[task.columns[0]])
    for split in source.splits:
        _refuse_other_coding(source, task, name, split, texts)


def _refuse_other_coding(source: Source, task: Task, name: str, split: str, texts: bool) -> None:
    if split == "predict" or not len(source.splits[split]) or not set(task.columns) <= set(source.columns(split)):
        return
    columns, features = source.labels(split, task.columns, name)
    if columns is not None:
        (first, *_) = task.columns
        refuse_other_coding(task, columns[first], features.get(first), f"source {name!r}, split {split!r}", texts=texts)


def fit_heads(
    sources: Mapping[str, Source],
    tasks: Mapping[str, Sequence[Task]],
    train: Mapping[str, Examples],
    inputs: Mapping[str, Inputs],
) -> None:
    """Let heads learn from the training labels: weights of classes, the scale of numbers; once for each model."""
    for name, readers in tasks.items():
        for task in readers:
            head = task.known_head()
            if not head.fitted and "train" in sources[name].splits:
                examples = train.get(name) or sources[name].examples("train", inputs[name], task.columns)
                head.fit(known_labels(task, examples, f"source {name!r}, row"))
                head.fitted = True  # what a trained model knows of its labels stays
