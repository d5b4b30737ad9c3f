"""Optimizers, and the groups of parameters that they move."""

from ._fine_tuning import FineTuning

__all__ = [
    "FineTuning",
]
