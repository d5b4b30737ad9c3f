"""Which rows of a batch must reach which level."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..task import LEVELS, ROWS, Task
from ._hierarchy import Hierarchy


def rows_by_level(
    hierarchy: Hierarchy, tasks: Sequence[Task], columns: Mapping[str, Any], present: Iterable[int]
) -> dict[int, Tensor]:
    """Return for levels that not all rows reach the numbers of those that do.

    Args:
        hierarchy: The levels of the tasks.
        tasks: All tasks.
        columns: The batch of one source.
        present: The tasks that have labels in it.
    """
    if LEVELS in columns:
        found: dict[int, Tensor] = columns[LEVELS]
        return found
    rows, count = {}, 0
    for i in present:
        target, labelled = tasks[i].labels_in(columns), columns[ROWS].get(tasks[i].name)
        count = len(target)
        if labelled is not None:
            rows[i] = labelled // target.shape[1] if tasks[i].known_head().per_position else labelled
    return hierarchy.rows(present, rows, count)
