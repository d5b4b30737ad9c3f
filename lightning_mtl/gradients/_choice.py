"""The choice of how the tasks of a step are balanced."""

from __future__ import annotations

from typing import Any

from ..balancers import Balancer, GradientBalancer
from ._gradient_balancing import GradientBalancing
from ._loss_balancing import LossBalancing
from ._measuring import Measuring
from ._step_balance import StepBalance, SumOfLosses


def step_balance(balancer: Balancer | None, count: int, measuring: Measuring, levels: Any = None) -> StepBalance:
    """Return how the tasks of a step are balanced; a single task needs no balancer.

    Args:
        balancer: The balancer, if there is one.
        count: Number of tasks.
        measuring: How a gradient balancer gets its Gramian.
        levels: In a hierarchy, what is weighed at each level.
    """
    if balancer is None or count < 2:
        return SumOfLosses()
    if isinstance(balancer, GradientBalancer):
        return GradientBalancing(balancer, count, measuring, levels)
    return LossBalancing(balancer)
