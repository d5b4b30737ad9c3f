"""The module for several tasks, and the parts that the library's modules have in common."""

from ._base import TaskModule
from ._export import Exported
from ._learner import Learner, data_of
from ._multi_task import Answered, MultiTaskModule, Part
from ._prediction import Answer
from ._routing import Batch
from ._step import Step

__all__ = [
    "Answer",
    "Answered",
    "Batch",
    "Exported",
    "Learner",
    "MultiTaskModule",
    "Part",
    "Step",
    "TaskModule",
    "data_of",
]
