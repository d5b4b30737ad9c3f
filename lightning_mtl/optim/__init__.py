"""Optimizers, and the groups of parameters that they move."""

from ._fine_tuning import FineTuning
from ._parameter_groups import MakeOptimizer, ParameterGroups

__all__ = ["FineTuning", "MakeOptimizer", "ParameterGroups"]
