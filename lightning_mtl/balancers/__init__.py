"""Balancers weigh the tasks of a step against each other, by their losses or by their gradients."""

from ._aligned_mtl import AlignedMTL
from ._base import Balancer, GradientBalancer, LossBalancer
from ._cagrad import CAGrad
from ._config import ConFIG
from ._cosines import CosineBalancer
from ._dual_proj import DualProj
from ._dynamic_weight_average import DynamicWeightAverage
from ._fairgrad import FairGrad
from ._famo import FAMO
from ._from_gramian import FromGramian, Weighting
from ._generator import seed_of_run
from ._geometric_mean import GeometricMean
from ._geometry import Geometry
from ._gradnorm import GradNorm
from ._gradvac import GradVac
from ._imtl_g import IMTLG
from ._imtl_l import IMTLL
from ._log_sum import LogSum
from ._mgda import MGDA
from ._nash_mtl import NashMTL
from ._pcgrad import PCGrad
from ._random_weights import RandomWeights
from ._smooth_tchebycheff import SmoothTchebycheff
from ._softmax_uncertainty import SoftmaxUncertainty
from ._static import Static
from ._uncertainty import Uncertainty
from ._upgrad import UPGrad

__all__ = [
    "Balancer",
    "LossBalancer",
    "GradientBalancer",
    "FromGramian",
    "Weighting",
    "seed_of_run",
    "CosineBalancer",
    "Geometry",
    "Static",
    "LogSum",
    "GeometricMean",
    "Uncertainty",
    "SoftmaxUncertainty",
    "DynamicWeightAverage",
    "RandomWeights",
    "IMTLL",
    "SmoothTchebycheff",
    "FAMO",
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
