"""The module for several tasks, and the parts that the library's modules have in common."""

from ..gradients import Step, TaskResult
from ..task import Batch
from ._base import TaskModule
from ._export import Exported
from ._learner import Learner, data_of
from ._multi_task import MultiTaskModule
from ._source_batch import Answer as SourceAnswer
from ._source_batch import SourceBatch

__all__ = [
    "Batch",
    "Exported",
    "Learner",
    "MultiTaskModule",
    "SourceAnswer",
    "SourceBatch",
    "Step",
    "TaskModule",
    "TaskResult",
    "data_of",
]
