"""Labels of all tasks of a batch: each task reads its column as it was given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_mtl import Binary, HardSharing, Multiclass, MultiTaskModule, Regression, Task
from lightning_mtl.task import ROWS, label_tasks

LEVELS: list[Any] = [2, 4, 8]


def _tasks() -> list[Task]:
    return [
        Task("kind", target="level", head=Multiclass(3, names=LEVELS)),
        Task("size", target="level", head=Regression()),
        Task("turned", target="level", head=Multiclass(3, names=LEVELS[::-1])),
        Task("both", target=["level", "other"], head=Regression(2)),
    ]


@pytest.mark.parametrize("turned", [False, True])
def test_tasks_that_code_a_column_in_different_ways_each_see_it_as_it_is(turned: bool) -> None:
    tasks = _tasks()[:: -1 if turned else 1]
    given = torch.tensor([8, 2, 4, 2])
    batch: dict[str, Any] = {"level": given, "other": torch.tensor([0.5, 1.5, 2.5, 3.5])}
    label_tasks(tasks, batch)
    labels = {task.name: task.labels_in(batch).tolist() for task in tasks}
    assert labels == {
        "kind": [2, 0, 1, 0],
        "size": [8, 2, 4, 2],
        "turned": [0, 2, 1, 2],
        "both": [[8, 0.5], [2, 1.5], [4, 2.5], [2, 3.5]],
    }
    assert given.tolist() == [8, 2, 4, 2]


def test_texts_can_be_coded_in_two_ways() -> None:
    tasks = [
        Task(name, target="mood", head=Binary(names=list(names))) for name, names in {"a": "xy", "b": "yx"}.items()
    ]
    batch: dict[str, Any] = {"mood": ["x", "y", "", "y"], ROWS: {}}
    label_tasks(tasks, batch)
    assert [task.labels_in(batch).tolist() for task in tasks] == [[0, 1, -100, 1], [1, 0, -100, 0]]
    assert {name: rows.tolist() for name, rows in batch[ROWS].items()} == {"a": [0, 1, 3], "b": [0, 1, 3]}


def test_equal_labels_are_in_a_batch_once() -> None:
    tasks = [Task(name, target="level", head=Multiclass(3, names=LEVELS)) for name in "abc"]
    batch: dict[str, Any] = {"x": torch.zeros(2), "level": torch.tensor([2, 8])}
    label_tasks(tasks, batch)
    assert list(batch) == ["x", "level"]
    assert batch["level"].tolist() == [0, 2]


def test_a_task_of_several_columns_may_have_the_name_of_another_column() -> None:
    tasks = [Task("w", target=["u", "v"], head=Regression(2)), Task("alone", target="w", head=Regression())]
    batch: dict[str, Any] = {name: torch.tensor([float(i), i + 10.0]) for i, name in enumerate("uvw")}
    label_tasks(tasks, batch)
    assert [task.labels_in(batch).tolist() for task in tasks] == [[[0, 1], [10, 11]], [2, 12]]


def test_labels_of_several_columns_that_a_collate_has_stacked_are_taken() -> None:
    (task,) = tasks = [Task("w", target=["u", "v"], head=Regression(2))]
    batch: dict[str, Any] = {"w": torch.tensor([[0.0, 1.0]])}
    label_tasks(tasks, batch)
    assert task.labels_in(batch).tolist() == [[0, 1]]


def test_a_module_learns_each_coding_from_batches_of_any_loader() -> None:
    module = MultiTaskModule(_tasks()[:3], HardSharing(nn.Linear(2, 4), width=4))
    step = module.run({"s": {"x": torch.randn(3, 2), "level": torch.tensor([2, 8, 4])}})
    assert [result.target.tolist() for result in step.results] == [[0, 2, 1], [2, 8, 4], [2, 0, 1]]


def test_the_encoder_reads_no_labels() -> None:
    module = MultiTaskModule(_tasks()[:3], HardSharing(nn.Linear(1, 4), width=4))
    batch = {"s": {"x": torch.randn(2, 1), "level": torch.tensor([2, 8])}}
    labelled = module.routing.label(batch)
    assert list(module.routing.inputs("s", labelled["s"])) == ["x"]
