"""How often each source is drawn, and which of its rows."""

from ._annealed import Annealed
from ._dynamic_task_prioritization import DynamicTaskPrioritization
from ._exp3s import Exp3S
from ._explicit import Explicit
from ._forgetting_driven import ForgettingDriven
from ._function_of_step import FunctionOfStep
from ._phases import Phase, Phases
from ._proportional import Proportional
from ._rule import Rule, Signals
from ._smoothing import Smoothing
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
]
