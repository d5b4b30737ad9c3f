"""The names of classes, as columns have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import datasets

from ..inputs import missing
from ..task import Task

Features = Mapping[str, Any]
"""The types of a Hugging Face dataset's columns; empty for other data."""


def set_class_names(task: Task, columns: Mapping[str, list[Any]], features: Features) -> None:
    """Set the class names of a head from its column, where it has none.

    Raises:
        ValueError: There are more or fewer names than the head has classes.
    """
    head = task.known_head()
    if not hasattr(head, "classes") or head.names is not None or len(task.columns) > 1:
        return
    column = task.columns[0]
    feature = features.get(column)
    feature = getattr(feature, "feature", None) or feature
    size = head.outputs if head.label_shape else getattr(head, "classes", head.outputs)
    if isinstance(feature, datasets.ClassLabel):
        head.names = list(feature.names) if len(feature.names) == size else None
        return
    found = sorted({text for text in flat(columns[column]) if isinstance(text, str) and text})
    if found and len(found) != size:
        refuse_column(
            task,
            column,
            f"must have {size} different labels for {type(head).__name__}",
            f"{len(found)} ({some(found)})",
            "Change the head, or leave it out to have it found from the data",
        )
    head.names = list(found) or None


def refuse_other_coding(task: Task, values: Sequence[Any], feature: Any, where: str, *, texts: bool) -> None:
    """Check that a split codes its labels as the head does.

    Args:
        task: The task, with its head.
        values: The values of its target column.
        feature: The type of the column, where the data have it.
        where: What the split is called in error messages.
        texts: Whether labels of the training split are texts.

    Raises:
        ValueError: Class names in another order, or numbers in one split and texts in another.
    """
    names = getattr(task.head, "names", None)
    if not names or len(task.columns) > 1:
        return
    column = task.columns[0]
    feature = getattr(feature, "feature", None) or feature
    if isinstance(feature, datasets.ClassLabel):
        if all(isinstance(name, str) for name in names) and list(feature.names) != list(names):
            raise ValueError(
                f"Column {column!r} of task {task.name!r} must number its classes in one order everywhere: {where} has {feature.names}, "
                f"the model has {list(names)}. Encode all splits together, or keep the labels as texts."
            )
        return
    first = next((value for value in flat(values) if not missing(value)), None)
    if isinstance(first, int | float) if texts else isinstance(first, str) and first not in names:
        raise ValueError(
            f"Column {column!r} of task {task.name!r} must hold the same kind of labels everywhere: {where} has {first!r}, "
            f"the model has {some(list(names))}. Write the same labels in all splits."
        )


def flat(values: Sequence[Any]) -> Iterator[Any]:
    """Return the labels of rows, and of lists in them."""
    for value in values:
        yield from value if isinstance(value, list | tuple) else (value,)


def some(values: Sequence[Any]) -> str:
    """Return the first few values as text."""
    return ", ".join(map(repr, values[:6])) + (", ..." if len(values) > 6 else "")


def refuse_column(task: Task, column: str, rule: str, value: str, remedy: str) -> NoReturn:
    """Raise the error of a target column."""
    raise ValueError(f"Column {column!r} of task {task.name!r} {rule}, got {value}. {remedy}.")
