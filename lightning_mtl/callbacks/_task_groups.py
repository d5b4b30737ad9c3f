"""Groups of tasks that help each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from jaxtyping import Float
from torch import Tensor

from .._checks import require_number

Partition = list[list[int]]

_EXHAUSTIVE = 8
"""Up to so many tasks all partitions are compared: 4140 of eight."""


def task_groups(affinity: Float[Tensor, "tasks tasks"], count: int) -> Partition:
    """Partition tasks into groups so that each gets the most help from the others of its group (Fifty et al., NeurIPS 2021, section 3.2).

    A task gets the mean affinity of the others of its group to it; 0 where it is alone. Up to 8 tasks, all partitions are compared.
    For more tasks, the two groups whose union adds most to the total are merged, again and again.

    Args:
        affinity: How much an update for each task (row) lowers the loss of each other task (column); positive helps. NaN counts as 0.
        count: Number of groups.

    Returns:
        Numbers of the tasks of each group, in order.

    Raises:
        ValueError: There are fewer tasks than groups, or no group.

    Example:
        >>> import torch
        >>> from lightning_mtl.callbacks._task_groups import task_groups
        >>> task_groups(torch.tensor([[0.0, -1.0, 2.0], [-1.0, 0.0, 0.5], [2.0, 0.5, 0.0]]), 2)
        [[0, 2], [1]]
    """
    remedy = "The last is the number of tasks."
    require_number("count", count, remedy, at_least=1, at_most=len(affinity), whole=True)
    helps: list[list[float]] = affinity.nan_to_num(nan=0.0).tolist()
    if len(helps) > _EXHAUSTIVE:
        return _merged(helps, count)
    return max(_partitions(len(helps), count), key=lambda groups: sum(_total(helps, group) for group in groups))


def _total(helps: Sequence[Sequence[float]], group: Sequence[int]) -> float:
    """Return the sum of what each task of a group gets from the others."""
    if len(group) < 2:
        return 0.0
    return sum(helps[i][j] for i in group for j in group if i != j) / (len(group) - 1)


def _partitions(tasks: int, count: int) -> Iterator[Partition]:
    """Return all partitions of so many tasks: each task joins a group of those before it, or opens the next one."""
    if tasks == 0:
        if count == 0:
            yield []
        return
    for groups in _partitions(tasks - 1, count):
        for joined in range(len(groups)):
            yield [[*group, tasks - 1] if i == joined else group for i, group in enumerate(groups)]
    if count:
        for groups in _partitions(tasks - 1, count - 1):
            yield [*groups, [tasks - 1]]


def _merged(helps: Sequence[Sequence[float]], count: int) -> Partition:
    groups = [[task] for task in range(len(helps))]
    totals = [0.0] * len(groups)
    while len(groups) > count:
        one, other = max(
            combinations(range(len(groups)), 2),
            key=lambda pair: _total(helps, groups[pair[0]] + groups[pair[1]]) - totals[pair[0]] - totals[pair[1]],
        )
        groups[one] = sorted(groups[one] + groups.pop(other))
        totals.pop(other)
        totals[one] = _total(helps, groups[one])
    return groups
