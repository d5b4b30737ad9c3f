"""Metrics of a run that two processes know as one does."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torchmetrics.regression import MeanAbsoluteError

from lightning_mtl import Binary, Multilabel, Regression, Task
from lightning_mtl.metrics import (
    BackwardTransfer,
    DeltaM,
    Drawdown,
    Forgetting,
    ForgettingEvents,
    ForwardTransfer,
    Kept,
    MeanRank,
    ScoreMatrix,
    WorstCase,
)
from lightning_mtl.task import TaskMetrics

EXAMPLES, EPOCHS, BATCH, TASKS = 30, 5, 6, 4


def figures(rank: int | None) -> dict[str, Tensor]:
    """Give all figures as a rank of two has them, or as the one process that there is."""
    given = scores()
    knows_alone = torch.zeros(TASKS, dtype=torch.bool) if rank is None else torch.arange(TASKS) % 2 != rank
    found: dict[str, Tensor] = {}
    for form, known in (("all know", given), ("one knows", given.masked_fill(knows_alone, torch.nan))):
        for metric in of_scores():
            found |= {
                f"{metric.__class__.__name__}, {form}, {key}": value for key, value in read(metric, known).items()
            }
    return found | events(rank) | runs(rank) | judged(rank)


def scores() -> Tensor:
    return torch.rand(TASKS, TASKS, generator=torch.Generator().manual_seed(0))


def of_scores() -> list[Kept]:
    matrices = [Forgetting(TASKS), BackwardTransfer(TASKS), ForwardTransfer(TASKS, initial=[0.1] * TASKS)]
    return [*matrices, Drawdown(TASKS), Drawdown(TASKS, smoothing=0.4), WorstCase(TASKS)]


def read(metric: Kept, known: Tensor) -> dict[str, Tensor]:
    for stage, row in enumerate(known):
        if isinstance(metric, WorstCase):
            metric.switch(stage)
            metric.update(row / 2)
        metric.update(*([stage] if isinstance(metric, ScoreMatrix) else []), row)
    found = {"figure": metric.compute()}
    if isinstance(metric, ScoreMatrix):
        found["of tasks"] = metric.per_task()
    if isinstance(metric, WorstCase):
        found |= {"lowest": metric.min_accuracy(), "worst case": metric.wc_accuracy()}
    return found


def events(rank: int | None) -> dict[str, Tensor]:
    """Read each example once in an epoch, on one rank or the other; the last epoch after the state was loaded."""
    chance = torch.Generator().manual_seed(1)
    metric = ForgettingEvents(EXAMPLES)
    for _ in range(EPOCHS):
        state = copy.deepcopy(metric.state_dict())
        metric = ForgettingEvents(EXAMPLES)
        metric.load_state_dict(state)
        order = torch.randperm(EXAMPLES, generator=chance)
        right = torch.rand(EXAMPLES, generator=chance) < 0.6
        for rows in order.view(-1, BATCH):
            mine = rows if rank is None else rows[rank::2]
            metric.update(mine, right[mine])
        metric.settle()
        distinct = state["settled"]
    late = {"events before": distinct, "events": metric.compute(), "first": metric.first_learned()}
    return late | {"unforgettable": metric.unforgettable(), "never": metric.never_learned()}


def runs(rank: int | None) -> dict[str, Tensor]:
    values = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(2)) + 0.1
    gain = DeltaM([0.5, 2.0], higher_is_better=[True, False])
    ranks = MeanRank(3, higher_is_better=[True, False])
    for each in values if rank is None else values[rank::2]:
        gain.update(each[0])
        ranks.update(each)
    return {"gain": gain.compute(), "ranks": ranks.compute()}


def judged(rank: int | None) -> dict[str, Tensor]:
    """Judge tasks with labels that only one rank has, and none on either; the first task on a share of a constant's error."""
    head = Regression()
    error = Task("error", head=head, metrics=[MeanAbsoluteError()])
    error.fit(torch.tensor([0.0, 0.0, 4.0]))
    tasks = [
        error,
        Task("rare", head=Binary()),
        Task("several", head=Multilabel(3)),
        Task("constant", head=Regression()),
    ]
    metrics = TaskMetrics(tasks)
    metrics.set_dtype(torch.float64)
    chance = torch.Generator().manual_seed(3)
    numbers, shares = torch.rand(8, generator=chance), torch.rand(8, 3, generator=chance)
    labels = torch.zeros(8, 3, dtype=torch.long)
    labels[0, 0] = labels[1, 1] = 1
    rare = torch.arange(8) == 1
    given = [(numbers, torch.arange(8.0)), (numbers, rare.long()), (shares, labels), (numbers, torch.ones(8))]
    for task, (prediction, target) in enumerate(given):
        mine = slice(None) if rank is None else slice(rank, None, 2)
        metrics.update("validate", task, prediction[mine], target[mine])
    found, plain = metrics.compute("validate", [8.0] * 4, torch.device("cpu"))
    known = {f"{i}, {name}": value for i, group in found.items() for name, value in group.items()}
    left_out = {f"{i} lacks {name}": torch.tensor(1.0) for i, group in metrics.undefined.items() for name in group}
    return known | left_out | {"plain": torch.tensor(plain[0]), "without": torch.tensor(metrics.partly[2]["f1"])}
