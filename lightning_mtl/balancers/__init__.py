"""How the tasks of a step share it: by their losses, or by their gradients."""

from ._base import Balancer, GradientBalancer, LossBalancer
from ._from_gramian import FromGramian, Weighting

__all__ = ["Balancer", "FromGramian", "GradientBalancer", "LossBalancer", "Weighting"]
