"""How the tasks of a step share it: by their losses, or by their gradients."""

from ._aligned_mtl import AlignedMTL
from ._base import Balancer, GradientBalancer, LossBalancer
from ._cagrad import CAGrad
from ._config import ConFIG
from ._cosines import CosineBalancer
from ._dual_proj import DualProj
from ._fairgrad import FairGrad
from ._geometry import Geometry
from ._gradnorm import GradNorm
from ._gradvac import GradVac
from ._imtl_g import IMTLG
from ._mgda import MGDA
from ._nash_mtl import NashMTL
from ._pcgrad import PCGrad
from ._upgrad import UPGrad

__all__ = [
    "Balancer",
    "GradientBalancer",
    "LossBalancer",
    "CosineBalancer",
    "Geometry",
    "GradNorm",
    "MGDA",
    "PCGrad",
    "GradVac",
    "CAGrad",
    "IMTLG",
    "NashMTL",
    "AlignedMTL",
    "FairGrad",
    "UPGrad",
    "DualProj",
    "ConFIG",
]
