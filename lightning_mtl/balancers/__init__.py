"""How the tasks of a step share it: by their losses, or by their gradients."""

from ._base import Balancer, GradientBalancer, LossBalancer

__all__ = ["Balancer", "GradientBalancer", "LossBalancer"]
