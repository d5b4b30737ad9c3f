"""The rows of each class, from which episodes are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from ..data import Source

Classes = dict[str, dict[str, list[int]]]
"""{split: {class: numbers of its rows}}."""


def classes_of(labels: Sequence[Any]) -> dict[str, list[int]]:
    """Return the numbers of the rows of each class; rows without a label (None, NaN, -100) are in no class.

    Args:
        labels: The labels of all rows.

    Example:
        >>> classes_of(["b", "a", None, "b"])
        {'a': [1], 'b': [0, 3]}
    """
    found: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        if not (label is None or label != label or label == -100):
            found.setdefault(str(label), []).append(row)
    return dict(sorted(found.items()))


def classes_of_splits(source: Source, name: str, columns: Sequence[str]) -> Classes:
    """Return the numbers of the rows of each class in each split.

    Args:
        source: The source.
        name: Its name.
        columns: The target columns; the first one holds the classes.

    Raises:
        ValueError: A class is in two splits.
    """
    column = columns[0]
    found = {split: classes_of(source.read(split, columns)[column]) for split in source.splits if split != "predict"}
    for split, other in combinations(found, 2):
        if both := sorted(found[split].keys() & found[other].keys()):
            raise ValueError(
                f"Source {name!r} must have no class of column {column!r} in two splits, else a test is not of new tasks; "
                f"{split!r} and {other!r} both have {both[:5]}{' and others' if len(both) > 5 else ''}. Split by class: split(rows, by="
                f"{column!r})."
            )
    return found
