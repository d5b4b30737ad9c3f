"""How the tasks of a step share it: by their losses, or by their gradients."""

from ._base import Balancer, GradientBalancer, LossBalancer
from ._dynamic_weight_average import DynamicWeightAverage
from ._famo import FAMO
from ._from_gramian import FromGramian, Weighting
from ._geometric_mean import GeometricMean
from ._imtl_l import IMTLL
from ._log_sum import LogSum
from ._random_weights import RandomWeights
from ._smooth_tchebycheff import SmoothTchebycheff
from ._softmax_uncertainty import SoftmaxUncertainty
from ._static import Static
from ._uncertainty import Uncertainty

__all__ = [
    "Balancer",
    "LossBalancer",
    "GradientBalancer",
    "FromGramian",
    "Weighting",
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
]
