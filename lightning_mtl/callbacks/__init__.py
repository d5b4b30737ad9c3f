"""Callbacks for the Trainer: what changes sampling while training runs, what watches it, and what holds what was learned."""

from ._conflict_monitor import ConflictMonitor
from ._distillation import Distillation
from ._elastic_weight_consolidation import ElasticWeightConsolidation
from ._forgetting_monitor import ForgettingMonitor
from ._gap_monitor import GapMonitor
from ._replay import Replay
from ._sampling_monitor import SamplingMonitor
from ._sampling_schedule import SamplingSchedule
from ._successive_regularization import SuccessiveRegularization
from ._task_early_stopping import TaskEarlyStopping
from ._transfer_monitor import TransferMonitor
from ._weight_anchor import WeightAnchor

__all__ = [
    "ConflictMonitor",
    "Distillation",
    "ElasticWeightConsolidation",
    "ForgettingMonitor",
    "GapMonitor",
    "Replay",
    "SamplingMonitor",
    "SamplingSchedule",
    "SuccessiveRegularization",
    "TaskEarlyStopping",
    "TransferMonitor",
    "WeightAnchor",
]
