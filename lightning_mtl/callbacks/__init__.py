"""Callbacks for the Trainer: what changes sampling while training runs, what watches it, and what holds what was learned before."""

from ._distillation import Distillation
from ._elastic_weight_consolidation import ElasticWeightConsolidation
from ._replay import Replay
from ._sampling_monitor import SamplingMonitor
from ._sampling_schedule import SamplingSchedule
from ._successive_regularization import SuccessiveRegularization
from ._weight_anchor import WeightAnchor

__all__ = [
    "Distillation",
    "ElasticWeightConsolidation",
    "Replay",
    "SamplingMonitor",
    "SamplingSchedule",
    "SuccessiveRegularization",
    "WeightAnchor",
]
