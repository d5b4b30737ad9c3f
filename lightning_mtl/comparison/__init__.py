"""Did sharing help? One network for all tasks against its single-task twins."""

from ._compare import compare, score
from ._cost import ArmCost, Cost, costs_of
from ._interval import Interval, t_quantile
from ._result import Comparison
from ._runs import Judged, fit, judged, refuse_once, run_arm, scored
from ._task_result import ALL, TaskComparison

__all__ = [
    "Comparison",
    "ArmCost",
    "Cost",
    "Interval",
    "Judged",
    "TaskComparison",
    "compare",
    "costs_of",
    "fit",
    "judged",
    "refuse_once",
    "run_arm",
    "score",
    "scored",
    "t_quantile",
    "ALL",
]
