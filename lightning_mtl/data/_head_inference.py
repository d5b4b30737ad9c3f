"""The head that fits a target column, and the names of its classes."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

import datasets

from ..heads import Binary, Head, Multiclass, Multilabel, Regression, Tagging
from ..inputs import are_dates, missing
from ..task import Task
from ._class_names import Features, refuse_column, some

CLASSES = 20
"""The largest number of classes of a column of whole numbers; with more different values they are quantities."""


def head_for(task: Task, columns: Mapping[str, list[Any]], features: Features, *, words: bool) -> Head:
    """Infer the head that fits the target of a task.

    Args:
        task: A task without a head.
        columns: The values of its target columns in the training split.
        features: The types of the dataset's columns.
        words: Whether the source's rows are lists of words.

    Raises:
        ValueError: A target that cannot be learned (one value, a value per row, dates), or that no head fits.
    """
    return _of_columns(task, columns, features) if len(task.columns) > 1 else _of_column(task, columns, features, words)


def _of_column(task: Task, columns: Mapping[str, list[Any]], features: Features, words: bool) -> Head:
    (column,) = task.columns
    values, feature = columns[column], features.get(column)
    inner = getattr(feature, "feature", None)
    if isinstance(feature, datasets.ClassLabel):
        return _classes(list(feature.names))
    known = _known(values)
    if not known:
        refuse_column(
            task,
            column,
            "must have labels to learn from",
            f"{len(values)} rows without",
            "Drop the task, or name another `target`",
        )
    if hasattr(known[0], "tolist"):
        known = [value.tolist() for value in known]
    if isinstance(known[0], list | tuple):
        names: list[Any] | None = list(inner.names) if isinstance(inner, datasets.ClassLabel) else None
        return _of_lists(task, column, known, names, words)
    return _of_scalars(task, column, known)


def _known(values: Sequence[Any]) -> list[Any]:
    """Return the values without missing ones; -100 counts as missing where the others are class numbers."""
    different = _different(values)
    gaps = any(map(missing, different))
    known = [value for value in values if not missing(value)] if gaps else list(values)
    rest = [value for value in different if not missing(value) and not _is_padding(value)]
    classes = all(isinstance(value, bool | int | float) and value >= 0 and float(value).is_integer() for value in rest)
    padded = bool(rest) and classes and any(map(_is_padding, different))
    return [value for value in known if not _is_padding(value)] if padded else known


def _different(values: Sequence[Any]) -> Collection[Any]:
    """Return the different values, which are few in a column of classes; all of them where these are lists."""
    try:
        return set(values)
    except TypeError:
        return values


def _is_padding(value: Any) -> bool:
    return isinstance(value, int | float) and value == -100


def _of_columns(task: Task, columns: Mapping[str, list[Any]], features: Features) -> Head:
    known = {name: _known(columns[name]) for name in task.columns}
    for name, values in known.items():
        if not values or not isinstance(values[0], bool | int | float):
            refuse_column(
                task,
                name,
                "must hold numbers where a task has several targets",
                repr(values[:1]),
                "Make each column a task",
            )
    if all(set(values) <= {0, 1} for values in known.values()):
        return Multilabel(len(known), names=list(known))
    return Regression(len(known), names=list(known), scaled=True)


def _of_lists(task: Task, column: str, known: list[Any], names: list[Any] | None, words: bool) -> Head:
    flat = _known([value for row in known for value in row])
    if not flat:
        refuse_column(
            task,
            column,
            "must have labels to learn from",
            "empty lists only",
            "Drop the task, or name another `target`",
        )
    if words:
        found: list[Any] = names or sorted(set(flat))
        if len(found) < 2:
            refuse_column(task, column, "must have at least two different tags", some(found), "Name another `target`")
        return Tagging(len(found), names=found if names or isinstance(found[0], str) else None)
    if isinstance(flat[0], str):
        return Multilabel(len(set(flat)), names=sorted(set(flat)))
    if names is not None:
        refuse_column(
            task,
            column,
            "must hold labels that a head fits",
            "lists of class numbers",
            "Name the source's `words` for a label per word, or give the lists as texts or as 0 and 1",
        )
    sizes = {len(row) for row in known}
    if len(sizes) > 1:
        refuse_column(
            task,
            column,
            "must hold lists of one length",
            f"lengths {some(sorted(sizes))}",
            "Name the source's `words`, or correct the rows",
        )
    outputs = sizes.pop()
    return Multilabel(outputs) if set(flat) <= {0, 1} else Regression(outputs, scaled=True)


def _of_scalars(task: Task, column: str, known: list[Any]) -> Head:
    _refuse_types(task, column, known)
    different = set(known)
    if len(different) == 1:
        refuse_column(
            task,
            column,
            "must have at least two different values",
            f"{known[0]!r} in all {len(known)} rows",
            "Name another `target`",
        )
    of_kind = _of_texts if isinstance(known[0], str) else _of_numbers
    return of_kind(task, column, known, different)


def _refuse_types(task: Task, column: str, known: list[Any]) -> None:
    """Reject dates, values of several types, and what is neither a text nor a number."""
    if isinstance(known[0], str):
        if are_dates(known):
            refuse_column(
                task,
                column,
                "must hold numbers or classes",
                f"dates ({known[0]!r})",
                "Make numbers of them, e.g. days since a date",
            )
        odd = next((value for value in known if not isinstance(value, str)), None)
        if odd is not None:
            refuse_column(task, column, "must hold texts or numbers, not both", repr(odd), "Convert the column")
    elif isinstance(known[0], date) or not isinstance(known[0], bool | int | float):
        found = "dates" if isinstance(known[0], date) else type(known[0]).__name__
        refuse_column(
            task,
            column,
            "must hold numbers or classes",
            f"{found} ({known[0]!r})",
            "Convert the column; of a date, e.g. days since a first one",
        )


def _of_texts(task: Task, column: str, known: list[Any], different: set[Any]) -> Head:
    if len(different) > max(CLASSES, len(known) / 2) or len(different) == len(known) > 2:
        refuse_column(
            task,
            column,
            "must have classes that recur",
            f"{len(different)} different texts in {len(known)} rows",
            "Name another `target`; if these are classes, give the head: head=Multiclass(...)",
        )
    _warn_of_case(task, column, different)
    return _classes(sorted(different))


def _warn_of_case(task: Task, column: str, different: set[Any]) -> None:
    """Name classes that only differ in upper and lower case."""
    alike: dict[str, list[str]] = {}
    for text in sorted(different):
        alike.setdefault(text.casefold(), []).append(text)
    if found := next((texts for texts in alike.values() if len(texts) > 1), None):
        warnings.warn(
            f"Column {column!r} of task {task.name!r} has classes that only differ in upper and lower case: {some(found)}. Write them "
            "alike if they are one.",
            stacklevel=2,
        )


def _of_numbers(task: Task, column: str, known: list[Any], different: set[Any]) -> Head:
    whole = all(float(value).is_integer() for value in different)
    if whole and len(different) == len(known) > CLASSES and max(different) - min(different) == len(known) - 1:
        refuse_column(
            task,
            column,
            "must have values that can be learned",
            f"consecutive numbers, one in each of {len(known)} rows",
            "Name another `target`; if this is a quantity, give the head: head=Regression()",
        )
    if whole and len(different) <= min(CLASSES, max(2, len(known) // 5)):
        _refuse_rounded(task, column, different)
        booleans = all(isinstance(value, bool) for value in different)
        return _classes(sorted(different if booleans else map(int, different)))
    return Regression(scaled=True)


def _refuse_rounded(task: Task, column: str, different: set[Any]) -> None:
    """Reject classes that came as floats too large to say which whole number they were."""
    rounded = next((value for value in different if isinstance(value, float) and abs(value) >= 2**53), None)
    if rounded is not None:
        refuse_column(
            task,
            column,
            "must have class numbers below 2**53 where they come as real numbers, as pandas makes of a column with gaps",
            f"{rounded:.17g}, which may have been rounded",
            "Give the column as texts or as whole numbers with gaps (pandas' 'Int64')",
        )


def _classes(names: list[Any]) -> Head:
    return Binary(names=names) if len(names) == 2 else Multiclass(len(names), names=names)
