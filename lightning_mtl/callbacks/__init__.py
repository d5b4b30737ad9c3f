"""Callbacks for the Trainer: they change sampling during training, monitor it, prevent forgetting, and stop single tasks."""

from ._conflict_monitor import ConflictMonitor
from ._distillation import Distillation
from ._elastic_weight_consolidation import ElasticWeightConsolidation
from ._evaluating import evaluating
from ._forgetting_monitor import ForgettingMonitor
from ._gap_monitor import GapMonitor
from ._loss_history import LossHistory
from ._replay import Replay
from ._run_sampler import phase_of, sampler_of
from ._sampling_monitor import SamplingMonitor
from ._sampling_schedule import SamplingSchedule
from ._stateful import StatefulCallback
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
    "LossHistory",
    "StatefulCallback",
    "evaluating",
    "phase_of",
    "sampler_of",
]
