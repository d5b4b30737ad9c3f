"""What one batch gave: a record for each task."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_mtl import MultiTaskDataModule
from lightning_mtl.balancers import Balancer
from lightning_mtl.gradients import Step, TaskResult
from tests.builders import module, splits
from tests.conftest import TrainerMaker


def result(task: int, forward_pass: int | None = None) -> TaskResult:
    return TaskResult(task, torch.tensor(float(task)), torch.zeros(2), torch.zeros(2), forward_pass=forward_pass)


@pytest.mark.parametrize("passes", [*product([0, 1, None], repeat=3), (), (0,)])
def test_a_graph_is_kept_as_long_as_a_later_loss_may_need_it(passes: tuple[int | None, ...]) -> None:
    """By the graphs themselves: losses of one forward pass share one, and each is freed by the last backward pass that keeps none."""
    leaves = [torch.ones(1, requires_grad=True) for _ in range(2)]
    shared = [leaf.exp() for leaf in leaves]

    def loss(of: int | None) -> Tensor:
        return ((shared[0] * shared[1]) if of is None else shared[of]).sum().square()

    step = Step([TaskResult(i, loss(of), torch.zeros(1), torch.zeros(1), None, of) for i, of in enumerate(passes)])
    for each, needed in zip(step.losses, step.needs_graph(), strict=True):
        each.backward(retain_graph=needed)  # type: ignore[no-untyped-call]
    if passes:
        assert not step.needs_graph()[-1]


def test_records_come_into_the_order_of_the_tasks() -> None:
    step = Step([result(2), result(0), result(1)])
    assert step.sort() is step
    assert step.tasks == (0, 1, 2)
    assert [float(loss) for loss in step.losses] == [0, 1, 2]


class Halving(Balancer):
    """A balancer of a user's own, right from the base."""

    def forward(self, losses: Tensor, tasks: Any = None) -> Tensor:
        return losses.sum() / 2


def test_a_balancer_that_is_neither_of_losses_nor_of_gradients_makes_the_loss(trainer: TrainerMaker) -> None:
    made = module(balancer=Halving())
    trainer(max_steps=1).fit(made, MultiTaskDataModule({"table": splits()}, summary=False))
    assert made.balance is not None
    assert made.balance.weights.tolist() == [0.5, 0.5]
