"""How often each source is drawn, and which of its rows."""

from ._batches import BATCHES, BY_SOURCE, Batches
from ._epoch import Steps, refuse_steps
from ._evaluation import EvaluationSampler
from ._flow import Flow
from ._rule import Rule, Signals, shares
from ._sampler import LAG, MultiTaskSampler, Plan
from ._stream import Ready, Rows, Stream
from ._uniform import Uniform

__all__ = [
    "BATCHES",
    "BY_SOURCE",
    "Flow",
    "LAG",
    "Batches",
    "EvaluationSampler",
    "MultiTaskSampler",
    "Plan",
    "Ready",
    "Rows",
    "Rule",
    "Signals",
    "Steps",
    "Stream",
    "Uniform",
    "refuse_steps",
    "shares",
]
