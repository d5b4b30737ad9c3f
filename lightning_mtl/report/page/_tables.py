"""The tables of the page."""

from __future__ import annotations

from collections.abc import Sequence

from ..._plain import escaped
from ._arms import OWN, ComparedArms, mean_of
from ._finding import Table
from ._run import Run, tasks_of
from ._words import interval, known, number


def task_table(runs: Sequence[Run]) -> Table:
    """Return a table of the tasks: rows, metric, and the last value of each run."""
    header = ["task", "training rows", "metric"]
    header += [run.name if len(runs) > 1 else "last validation" for run in runs]
    rows = []
    for task in tasks_of(runs):
        better = {1: " (higher is better)", -1: " (lower is better)"}.get(task.get("sign") or 0, "")
        ends = [number(run.last(f"validate/{escaped(task['name'])}/{task.get('metric') or 'loss'}")) for run in runs]
        count = f"{task['rows']:,}" if task.get("rows") is not None else "unknown"
        rows.append((task["name"], count, f"{task.get('metric') or 'loss'}{better}", *ends))
    return Table(tuple(header), tuple(rows))


def comparison_tables(comparison: ComparedArms | None) -> list[Table]:
    """Return tables of the results and costs of each arm."""
    return [] if comparison is None else [_results(comparison), *_costs(comparison)]


def _results(comparison: ComparedArms) -> Table:
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


def _costs(comparison: ComparedArms) -> list[Table]:
    measured = [column for column in _COSTS if any(known(of.get(column[0])) for of in comparison.costs.values())]
    if not measured:
        return []
    rows = [
        (arm, *(number(of[key] / unit) if known(of.get(key)) else "unknown" for key, _, unit in measured))
        for arm, of in comparison.costs.items()
    ]
    return [Table(("arm", *(title for _, title, _ in measured)), tuple(rows))]
