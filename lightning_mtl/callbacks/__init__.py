"""Callbacks for the Trainer: what changes sampling while training runs, what watches it, and what holds lower levels."""

from ._conflict_monitor import ConflictMonitor
from ._sampling_monitor import SamplingMonitor
from ._sampling_schedule import SamplingSchedule
from ._successive_regularization import SuccessiveRegularization
from ._transfer_monitor import TransferMonitor

__all__ = ["ConflictMonitor", "SamplingMonitor", "SamplingSchedule", "SuccessiveRegularization", "TransferMonitor"]
