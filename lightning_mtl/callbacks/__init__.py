"""Callbacks for the Trainer: what changes sampling while training runs, and what watches it."""

from ._sampling_monitor import SamplingMonitor
from ._sampling_schedule import SamplingSchedule

__all__ = ["SamplingMonitor", "SamplingSchedule"]
