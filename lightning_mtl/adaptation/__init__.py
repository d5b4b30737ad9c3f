"""Inner-loop algorithms, one per file: they adapt a task's parameters to a few examples. Two engines run them."""

from ._adapting import ENGINES, Adapting, EngineName
from ._anil import ANIL
from ._base import Adaptation, Inner
from ._boil import BOIL
from ._carried import carried
from ._cloning import Cloning
from ._episode import Episode, singles
from ._gradient_descent import GradientDescent
from ._inner_optimizers import SGD, Adam, InnerOptimizer
from ._maml import MAML
from ._maml_plus_plus import MAMLPlusPlus
from ._meta_sgd import MetaSGD
from ._norms import NORMS, EpisodeNorms, Norm
from ._outcome import Outcome, whole
from ._problem import Data, Parameters, Problem
from ._protonet import ProtoNet
from ._reptile import Reptile

__all__ = [
    "Adaptation",
    "GradientDescent",
    "MAML",
    "ANIL",
    "BOIL",
    "MetaSGD",
    "MAMLPlusPlus",
    "Reptile",
    "ProtoNet",
    "Cloning",
    "InnerOptimizer",
    "SGD",
    "Adam",
    "Adapting",
    "ENGINES",
    "EngineName",
    "Episode",
    "EpisodeNorms",
    "Inner",
    "NORMS",
    "Norm",
    "Outcome",
    "Data",
    "Parameters",
    "Problem",
    "carried",
    "singles",
    "whole",
]
