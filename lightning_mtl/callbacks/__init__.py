"""Callbacks for the Trainer: what changes sampling while training runs, what watches it, and what holds lower levels."""

from ._forgetting_monitor import ForgettingMonitor
from ._sampling_monitor import SamplingMonitor
from ._sampling_schedule import SamplingSchedule
from ._successive_regularization import SuccessiveRegularization

__all__ = ["ForgettingMonitor", "SamplingMonitor", "SamplingSchedule", "SuccessiveRegularization"]
