"""A task: what it predicts, from which column it learns it, and how it is judged."""

from ._metrics import TaskMetrics
from ._task import LEVELS, ROWS, Level, Loss, Task

__all__ = [
    "Level",
    "Loss",
    "Task",
    "TaskMetrics",
    "LEVELS",
    "ROWS",
]
