"""Did sharing help? One network for all tasks against its single-task twins."""

from ._before import monitors_validation, refuse_split, refuse_unscored
from ._compare import compare, score
from ._cost import ArmCost, Cost, costs_of
from ._interval import Interval, t_quantile
from ._new_modules import NewModules, refuse_other_metric, scored_tasks
from ._new_trainers import NewTrainers, refuse_idle
from ._result import Comparison
from ._run_names import as_folder
from ._runs import Run, TaskScore, fit, refuse_generators, run_arm, task_scores, validation_score
from ._seeds import LARGEST, refuse_seeds
from ._task_result import ALL, STAGED, TaskComparison

__all__ = [
    "Comparison",
    "ArmCost",
    "Cost",
    "Interval",
    "NewModules",
    "NewTrainers",
    "Run",
    "TaskComparison",
    "TaskScore",
    "as_folder",
    "compare",
    "costs_of",
    "fit",
    "monitors_validation",
    "refuse_generators",
    "refuse_idle",
    "refuse_other_metric",
    "refuse_seeds",
    "refuse_split",
    "refuse_unscored",
    "run_arm",
    "score",
    "scored_tasks",
    "t_quantile",
    "task_scores",
    "validation_score",
    "ALL",
    "LARGEST",
    "STAGED",
]
