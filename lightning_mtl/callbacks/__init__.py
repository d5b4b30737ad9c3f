"""Callbacks for the Trainer: what changes sampling while training runs, what watches it, what stops tasks, and what holds lower levels."""

from ._gap_monitor import GapMonitor
from ._sampling_monitor import SamplingMonitor
from ._sampling_schedule import SamplingSchedule
from ._successive_regularization import SuccessiveRegularization
from ._task_early_stopping import TaskEarlyStopping

__all__ = ["GapMonitor", "SamplingMonitor", "SamplingSchedule", "SuccessiveRegularization", "TaskEarlyStopping"]
