"""Groups of tasks that help each other."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks._task_groups import task_groups
from tests.cases import over

Groups = list[list[int]]


def draw(tasks: int, seed: int) -> Tensor:
    return torch.randn(tasks, tasks, generator=torch.Generator().manual_seed(100 * tasks + seed), dtype=torch.float64)


def helped(affinity: Tensor, groups: Groups) -> float:
    """What all tasks get from the others of their groups."""
    means = [affinity[[i for i in group if i != j], j].mean() for group in groups for j in group if len(group) > 1]
    return float(sum(means))


def every_partition(tasks: int, count: int) -> list[Groups]:
    """Colour the tasks in all ways."""
    colourings = [colours for colours in product(range(count), repeat=tasks) if len({*colours}) == count]
    return [[[i for i in range(tasks) if colours[i] == c] for c in range(count)] for colours in colourings]


SAMPLES = [(tasks, count, seed) for tasks in (2, 3, 4, 6) for count in range(1, tasks + 1) for seed in range(3)]


@over(("tasks", "count", "seed"), [*SAMPLES, (8, 3, 0)])
def test_no_partition_helps_more(tasks: int, count: int, seed: int) -> None:
    affinity = draw(tasks, seed)
    found = task_groups(affinity, count)
    best = max(helped(affinity, groups) for groups in every_partition(tasks, count))
    assert helped(affinity, found) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("tasks", [2, 5, 8, 9, 14])
def test_each_task_is_in_one_group_in_order(tasks: int) -> None:
    for count in range(1, tasks + 1):
        found = task_groups(draw(tasks, 0), count)
        assert len(found) == count
        assert sorted(task for group in found for task in group) == list(range(tasks))
        assert all(group == sorted(group) for group in found)
        assert [group[0] for group in found] == sorted(group[0] for group in found)


@pytest.mark.parametrize("tasks", [4, 7, 12])
def test_a_tasks_own_affinity_and_its_scale_are_irrelevant(tasks: int) -> None:
    affinity = draw(tasks, 1)
    other = 1e-3 * affinity
    other.fill_diagonal_(7.0)
    assert task_groups(other, 3) == task_groups(affinity, 3)


@pytest.mark.parametrize("tasks", [4, 6, 10, 12])
def test_clusters_are_found(tasks: int) -> None:
    """Even and odd tasks help their like, and hurt the others."""
    numbers = torch.arange(tasks)
    affinity = torch.where((numbers[:, None] - numbers) % 2 == 0, 1.0, -1.0) + 0.1 * draw(tasks, 2).clamp(-2, 2)
    assert task_groups(affinity, 2) == [list(range(0, tasks, 2)), list(range(1, tasks, 2))]


def test_a_task_that_all_hurt_is_alone() -> None:
    affinity = torch.ones(4, 4)
    affinity[:, 2] = -5.0
    assert task_groups(affinity, 2) == [[0, 1, 3], [2]]


def test_help_has_a_direction() -> None:
    """The first task gets much from the third, which gets nothing for it; all else is little."""
    affinity = torch.full((3, 3), 0.1)
    affinity[2, 0], affinity[0, 2] = 3.0, 0.0
    assert task_groups(affinity, 2) == [[0, 2], [1]]


def test_what_was_never_measured_counts_for_nothing() -> None:
    affinity = torch.tensor([[1.0, torch.nan, 0.2], [torch.nan, 1.0, -0.1], [0.2, -0.1, 1.0]])
    assert task_groups(affinity, 2) == [[0, 2], [1]]


@pytest.mark.parametrize("count", [0, 4])
def test_other_numbers_of_groups_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"`count` must be a whole number from 1 to 3, got {count}"):
        task_groups(torch.zeros(3, 3), count)
