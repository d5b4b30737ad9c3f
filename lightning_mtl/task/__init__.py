"""A task: what it predicts, which column holds its labels, and how it is evaluated."""

from ._batch_columns import LEVELS, ROWS
from ._default_metrics import span_scheme
from ._labelling import label_tasks
from ._metrics import TaskMetrics
from ._multi_task import LevelledMultiTask, MultiTask, is_levelled, is_multi_task
from ._precision import in_precision, precision_of
from ._routing import Batch, Routing
from ._scoring import Scoring, bound_of
from ._task import Level, Loss, Task

__all__ = [
    "Batch",
    "Level",
    "Loss",
    "LevelledMultiTask",
    "MultiTask",
    "Routing",
    "Scoring",
    "Task",
    "TaskMetrics",
    "bound_of",
    "in_precision",
    "is_levelled",
    "is_multi_task",
    "label_tasks",
    "precision_of",
    "span_scheme",
    "LEVELS",
    "ROWS",
]
