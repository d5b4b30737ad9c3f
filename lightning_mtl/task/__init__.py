"""A task: what it predicts, from which column it learns it, and how it is judged."""

from ._batch_columns import LEVELS, ROWS
from ._metrics import TaskMetrics
from ._task import Level, Loss, Task

__all__ = [
    "Level",
    "Loss",
    "Task",
    "TaskMetrics",
    "LEVELS",
    "ROWS",
]
