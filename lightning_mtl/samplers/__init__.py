"""Samplers: how often each source is drawn (one rule per file), and which of its rows."""

from ._annealed import Annealed
from ._batches import BATCHES, BY_SOURCE, Batches, refuse_rule
from ._dynamic_task_prioritization import DynamicTaskPrioritization
from ._episodes import EpisodeRows, EpisodeSampler, Shots, refuse_sizes
from ._epoch import Steps, refuse_steps
from ._evaluation import EvaluationSampler
from ._exp3s import Exp3S
from ._explicit import Explicit
from ._flow import Flow, Once, own_copy
from ._forgetting_driven import ForgettingDriven
from ._function_of_step import FunctionOfStep
from ._phases import Phase, Phases
from ._plan import Plan, StandIn
from ._proportional import Proportional
from ._rates import LAG, Rates
from ._rule import Rule, Signals, asked, shares
from ._sampler import MultiTaskSampler
from ._smoothing import Smoothing
from ._stream import Ready, Rows, Stream
from ._temperature import Temperature
from ._uniform import Uniform

__all__ = [
    "Rule",
    "Signals",
    "Uniform",
    "Proportional",
    "Temperature",
    "Smoothing",
    "Explicit",
    "Annealed",
    "FunctionOfStep",
    "Phase",
    "Phases",
    "Exp3S",
    "DynamicTaskPrioritization",
    "ForgettingDriven",
    "MultiTaskSampler",
    "EvaluationSampler",
    "EpisodeSampler",
    "EpisodeRows",
    "Shots",
    "refuse_sizes",
    "Plan",
    "Rates",
    "StandIn",
    "Batches",
    "BATCHES",
    "BY_SOURCE",
    "LAG",
    "Steps",
    "Stream",
    "Rows",
    "Ready",
    "Flow",
    "Once",
    "asked",
    "own_copy",
    "refuse_rule",
    "refuse_steps",
    "shares",
]
