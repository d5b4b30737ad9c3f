"""What the data say before training: labels, classes, duplicates, and whatever is wrong with them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from torch import Tensor

from ._columns import stacked
from .source import Examples
from .task import ROWS, Task

SCAN = 10_000
"""Rows that are looked at where a dataset has no columns to read at once."""


@dataclass
class Labels:
    """What one split of a source holds for one task.

    Args:
        rows: Rows of the split.
        seen: Rows that were looked at.
        labelled: Rows of these that have a label.
        classes: Different labels, for heads of one class per row; else none.
        majority: Share of the most frequent label, likewise.
    """

    rows: int
    seen: int
    labelled: int
    classes: int | None = None
    majority: float | None = None


def labels_of(task: Task, examples: Examples, where: str) -> Labels:
    """Read a task's labels, and count them.

    Raises:
        ValueError: A label out of the head's range, with source, split, row and value.
    """
    target = task.column
    columns: dict[str, Any] = {target: _column(examples, target)}
    task.label(columns, where)
    values: Tensor = columns[target]
    rows = columns.get(ROWS, {}).get(task.name)
    known = values if rows is None else values[rows]
    found = Labels(len(examples), len(values), len(known))
    if task.head is not None and not task.head.dtype.is_floating_point and known.ndim == 1 and len(known):
        counts = torch.bincount(known)
        found.classes = int((counts > 0).sum())
        found.majority = counts.max().item() / len(known)
    return found


def refuse_nan(examples: Examples, where: str) -> None:
    """Look for inputs that are no numbers.

    Raises:
        ValueError: An input is NaN, with source, split, row and column.
    """
    rows = len(examples) if examples.source.features and isinstance(examples.rows, datasets.Dataset) else SCAN
    for start in range(0, min(rows, len(examples)), 1000):
        numbers = list(range(start, min(start + 1000, rows, len(examples))))
        for name, column in examples[numbers].items():
            if name in (examples.targets or ()) or not isinstance(column, Tensor) or not column.is_floating_point():
                continue
            bad = column.isnan().nonzero()
            if len(bad):
                row, *place = bad[0].tolist()
                if name == "features" and examples.source.features:
                    name = examples.source.features[place[-1]]
                raise ValueError(
                    f"Inputs must be numbers: {where} {start + row}, column {name!r} is NaN. Fill it or drop the row, e.g. "
                    "with `datasets.Dataset.filter`."
                )


def warn_of_copies(train: Examples, other: Examples, name: str, split: str) -> None:
    """Warn where rows of a split stand in the training split too."""
    known = set(_keys(train))
    copies = sum(key in known for key in _keys(other))
    if copies:
        warnings.warn(
            f"Source {name!r}: {copies} of {len(other)} rows of split {split!r} have the same inputs as rows of 'train'. "
            "Split by content, or drop the copies, for scores that mean something.",
            stacklevel=2,
        )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align text in columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    head = [header[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(header[1:], widths[1:], strict=True))]
    return "\n".join("  ".join(cells) for cells in (head, ["-" * w for w in widths], *lines))


def _column(examples: Examples, target: str) -> Any:
    if isinstance(examples.rows, datasets.Dataset) and examples.collate is None:
        return stacked(list(examples.rows.select_columns([target])[:][target]))
    rows = min(len(examples), SCAN)
    parts = [examples[list(range(i, min(i + 1000, rows)))][target] for i in range(0, rows, 1000)]
    return torch.cat(parts) if all(isinstance(part, Tensor) for part in parts) else parts[0]


def _keys(examples: Examples) -> list[Any]:
    hidden = set(examples.targets or ())
    if not isinstance(examples.rows, datasets.Dataset) or examples.collate is not None:
        columns: Mapping[str, Any] = examples[list(range(min(len(examples), SCAN)))]
    else:
        names = [name for name in examples.rows.column_names if name not in hidden]
        named = examples.source.text or examples.source.features
        columns = examples.rows.select_columns(names)[: None if named else SCAN] if names else {}
    values = [column for name, column in columns.items() if name not in hidden]
    return [tuple(_key(value) for value in row) for row in zip(*values, strict=True)]


def _key(value: Any) -> Any:
    return value.numpy().tobytes() if isinstance(value, Tensor) else repr(value)
