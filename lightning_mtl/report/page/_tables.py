"""The tables of the page."""

from __future__ import annotations

from collections.abc import Sequence

from ._compared import OWN, Compared, mean_of
from ._finding import Table
from ._run import Run, tasks_of
from ._words import interval, known, number


def task_table(runs: Sequence[Run]) -> Table:
    """List the tasks: rows, metric, and how each run ended."""
    header = ["task", "training rows", "metric"]
    header += [run.name if len(runs) > 1 else "last validation" for run in runs]
    rows = []
    for task in tasks_of(runs):
        better = {1: " (higher is better)", -1: " (lower is better)"}.get(task.get("sign") or 0, "")
        ends = [number(run.last(f"validate/{task['name']}/{task.get('metric') or 'loss'}")) for run in runs]
        count = f"{task['rows']:,}" if task.get("rows") is not None else "unknown"
        rows.append((task["name"], count, f"{task.get('metric') or 'loss'}{better}", *ends))
    return Table(tuple(header), tuple(rows))


def comparison_tables(comparison: Compared | None) -> list[Table]:
    """List what each arm reached, and what it cost."""
    return [] if comparison is None else [_reached(comparison), *_costs(comparison)]


def _reached(comparison: Compared) -> Table:
    own = any(task.own for task in comparison.tasks)
    header = ("task", "metric", *comparison.arms, *([OWN] * own), "difference [95%]", "verdict")
    rows = [
        (
            task.name,
            f"{task.metric} ({task.better} is better)",
            *(number(mean_of(values)) for values in (task.single, task.multi, *([task.own] * own))),
            interval(task.difference),
            task.verdict,
        )
        for task in comparison.tasks
    ]
    return Table(header, tuple(rows))


_COSTS = (
    ("parameters", "parameters", 1),
    ("seconds", "training, seconds", 1),
    ("training", "memory to train, MiB", 2**20),
    ("serving", "memory to serve, MiB", 2**20),
    ("peak", "peak on GPU, MiB", 2**20),
)


def _costs(comparison: Compared) -> list[Table]:
    there = [column for column in _COSTS if any(known(of.get(column[0])) for of in comparison.costs.values())]
    if not there:
        return []
    rows = [
        (arm, *(number(of[key] / unit) if known(of.get(key)) else "unknown" for key, _, unit in there))
        for arm, of in comparison.costs.items()
    ]
    return [Table(("arm", *(title for _, title, _ in there)), tuple(rows))]
