"""The rows of each class, from which episodes are drawn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from ..data import Source
from ..families import Family

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
    found = {
        split: classes_of(source.readings.of(split).columns(columns)[column])
        for split in source.splits
        if split != "predict"
    }
    for split, other in combinations(found, 2):
        if both := sorted(found[split].keys() & found[other].keys()):
            raise ValueError(
                f"Source {name!r} must have no class of column {column!r} in two splits, else a test is not of new tasks; "
                f"{split!r} and {other!r} both have {both[:5]}{' and others' if len(both) > 5 else ''}. Split by class: split(rows, by="
                f"{column!r})."
            )
    return found


def warn_of_streams(sources: Mapping[str, Source | Family]) -> None:
    """Warn where a training split is a stream of more rows than were read: no episode has the others, or their classes."""
    for name, source in sources.items():
        if isinstance(source, Family) or not source.goes_on:
            continue
        of = "more rows" if source.rows is None else f"{source.rows:,} rows"
        warnings.warn(
            f"Source {name!r} is a stream of {of}, of which the first {len(source.splits['train']):,} were read: episodes are drawn from "
            "these alone, without the classes that only others have. Give the rows as a list, a file or a map-style dataset "
            "to draw from all of them.",
            stacklevel=2,
        )
