"""A run, read from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Point = tuple[float, float]


@dataclass(frozen=True)
class Run:
    """A run; anything may be missing from its record.

    Args:
        name: The name of the run, e.g. "with replay".
        record: What `Report.record` returned.
    """

    name: str
    record: Mapping[str, Any]

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """The tasks: each with a name, and a metric, sign and rows where these are known."""
        return list(self.record.get("tasks") or [])

    def points(self, key: str) -> list[Point]:
        """Return the steps and values of a series, without values that are missing.

        Args:
            key: The name under which it was logged, e.g. "validate/topic/loss".
        """
        series = (self.record.get("series") or {}).get(key) or []
        return [(float(step), float(value)) for step, value in series if value is not None]

    def last(self, key: str) -> float | None:
        """Return the newest value of a series.

        Args:
            key: The name under which it was logged.
        """
        points = self.points(key)
        return points[-1][1] if points else None

    def monitor(self, kind: str) -> dict[str, Any]:
        """Return the record of a monitor; empty where there was none.

        Args:
            kind: The name of its class.
        """
        return dict((self.record.get("monitors") or {}).get(kind) or {})


def runs_of(records: Mapping[str, Mapping[str, Any]]) -> list[Run]:
    """Read the records of some runs.

    Args:
        records: {name of the run: its record}.
    """
    return [Run(name, record) for name, record in records.items()]


def tasks_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the tasks of all runs, each once, with what any of the records knows of it.

    Args:
        runs: The runs.
    """
    found: dict[str, dict[str, Any]] = {}
    for task in (task for run in runs for task in run.tasks):
        known = {key: value for key, value in task.items() if value is not None}
        found[task["name"]] = {**known, **found.get(task["name"], {})}
    return list(found.values())


def read_column(rows: Any, at: int) -> list[float]:
    """Read a column of numbers, without those that are missing.

    Args:
        rows: The rows, or None.
        at: Number of the column.
    """
    return [float(row[at]) for row in rows or [] if at < len(row) and row[at] is not None]


def fewest_validations(of: Mapping[str, Any], key: str) -> int:
    """Return the number of validations of the task that has the fewest; tasks without any are left out.

    Args:
        of: The record of a monitor.
        key: The key of its values for each task in each validation.
    """
    counts = (len(read_column(of.get(key), i)) for i in range(len(of.get("tasks") or [])))
    return min((count for count in counts if count), default=0)


def read_matrix(given: Any, size: int) -> list[list[float | None]]:
    """Read a matrix of a record; None where a number is missing.

    Args:
        given: The matrix, or None.
        size: How many rows and columns it has.
    """
    rows = given or []
    return [[_float(_at(_at(rows, i) or [], j)) for j in range(size)] for i in range(size)]


def _at(values: Sequence[Any], i: int) -> Any:
    return values[i] if i < len(values) else None


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
