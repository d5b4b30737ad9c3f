"""Gradients of each task, and how they share a step."""

from ._balancing import Balance, GradientBalancing, Measuring, Scope, balance_of, mean_losses, own_balancer
from ._cut import Cut, Rows, chosen, gradients_of, wide_type

__all__ = [
    "Balance",
    "Cut",
    "GradientBalancing",
    "Measuring",
    "Rows",
    "Scope",
    "balance_of",
    "chosen",
    "gradients_of",
    "mean_losses",
    "own_balancer",
    "wide_type",
]
