"""Did sharing help? One network for all tasks against its single-task twins."""

from ._compare import compare, score
from ._cost import ArmCost, Cost, costs_of
from ._interval import Interval, t_quantile
from ._result import Comparison
from ._runs import TaskScore, fit, refuse_generators, run_arm, task_scores, validation_score
from ._task_result import ALL, TaskComparison

__all__ = [
    "Comparison",
    "ArmCost",
    "Cost",
    "Interval",
    "TaskComparison",
    "TaskScore",
    "compare",
    "costs_of",
    "fit",
    "refuse_generators",
    "run_arm",
    "score",
    "t_quantile",
    "task_scores",
    "validation_score",
    "ALL",
]
