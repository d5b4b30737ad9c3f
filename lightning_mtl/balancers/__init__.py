"""How the tasks of a step share it: by their losses, or by their gradients."""

from ._base import Balancer, GradientBalancer, LossBalancer
from ._cosines import CosineBalancer
from ._dual_proj import DualProj
from ._geometry import Geometry
from ._gradnorm import GradNorm
from ._mgda import MGDA
from ._pcgrad import PCGrad

__all__ = [
    "Balancer",
    "GradientBalancer",
    "LossBalancer",
    "CosineBalancer",
    "Geometry",
    "GradNorm",
    "MGDA",
    "PCGrad",
    "DualProj",
]
