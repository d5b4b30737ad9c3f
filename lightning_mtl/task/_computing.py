"""The values of a task's metrics on a split, where they are defined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from ._needs import column_argument, mean_of, needs_of


def defined_values(
    metrics: MetricCollection, extremes: Tensor | None, task: str
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, list[int]]]:
    """Compute metrics; those that are averages over columns, over the columns in which they are defined.

    Args:
        metrics: The metrics.
        extremes: The lowest and highest label and prediction of each column, [4, columns]; None where no metric needs them.
        task: Name of the task, for error messages.

    Returns:
        {metric: value}; {metric: what it lacks} for those that are defined in no column; {metric: columns that were left out}.

    Raises:
        ValueError: A metric cannot be computed.
    """
    needed = {name: needs for name, metric in metrics.items(copy_state=False) if (needs := needs_of(metric))}
    defined = {} if extremes is None else {name: needs.met(*extremes) for name, needs in needed.items()}
    lacking = {name: f"it needs {needed[name].said}" for name, columns in defined.items() if not columns.any()}
    partly = {name: columns for name, columns in defined.items() if not columns.all() and name not in lacking}
    with _column_by_column(metrics, partly) as changed:
        found = _computed(metrics, set(lacking), task)
    values = {name: mean_of(of, partly[name]) if name in changed else of for name, of in found.items()}
    return values, lacking, {name: (~partly[name]).nonzero().flatten().tolist() for name in changed}


def _computed(metrics: MetricCollection, without: set[str], task: str) -> dict[str, Tensor]:
    """Compute metrics without some, which torchmetrics might not be able to."""
    if not without:
        with _named(task, list(metrics)):
            found: dict[str, Tensor] = metrics.compute()
            return found
    found = {}
    for name, metric in metrics.items(copy_state=False):
        if name not in without:
            with _named(task, [name]):
                value: Any = metric.compute()
            found |= value if isinstance(value, dict) else {name: value}
    return found


@contextmanager
def _named(task: str, names: Sequence[object]) -> Iterator[None]:
    """Say which task has metrics that cannot be computed."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"`metrics` of task {task!r} ({', '.join(map(repr, names))}) must be computable on these rows, got "
            f"{type(error).__name__}: {error}. Give the split more rows, or choose other metrics."
        ) from error


@contextmanager
def _column_by_column(metrics: MetricCollection, partly: Mapping[str, Tensor]) -> Iterator[set[str]]:
    """Let metrics that average over columns return each of them; give the names of those that do."""
    changed: list[tuple[Any, str, str]] = []
    names = set()
    for name, metric in metrics.items(copy_state=False):
        argument = column_argument(metric) if name in partly and needs_of(metric).each else None  # type: ignore[union-attr]
        if argument is not None:
            changed.append((metric, argument[0], argument[1]))
            setattr(metric, argument[0], argument[2])
            names.add(name)
    try:
        yield names
    finally:
        for metric, name, average in changed:
            setattr(metric, name, average)
