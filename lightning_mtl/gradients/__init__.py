"""Gradients of each task, and the balancing of the tasks in a step; README.md describes the order of a step."""

from ._balance import Balance
from ._choice import step_balance
from ._compiled import is_compiled
from ._cut import Cut, entries_of, wide_type
from ._measuring import Measuring, Scope, own_balancer, weighs_gradients
from ._observed_losses import Moment
from ._rows import Rows, gradients_of
from ._step import Step, TaskResult
from ._step_balance import BalancedModule, StepBalance, SumOfLosses

__all__ = [
    "Balance",
    "BalancedModule",
    "Cut",
    "Measuring",
    "Moment",
    "Rows",
    "Scope",
    "Step",
    "StepBalance",
    "SumOfLosses",
    "TaskResult",
    "entries_of",
    "gradients_of",
    "is_compiled",
    "own_balancer",
    "step_balance",
    "weighs_gradients",
    "wide_type",
]
