"""Metrics that torchmetrics lacks, one per file."""

from ._backward_transfer import BackwardTransfer
from ._delta_m import DeltaM, delta_m
from ._drawdown import Drawdown
from ._drop_alarm import FEWEST, Drop, DropAlarm
from ._forgetting import Forgetting
from ._forgetting_events import ForgettingEvents
from ._forward_transfer import ForwardTransfer
from ._kept import Kept
from ._macro_f1 import MacroF1
from ._mean_rank import MeanRank, mean_rank
from ._relative_gain import all_finite, near_zero, relative_gains
from ._score_matrix import ScoreMatrix
from ._span_f1 import SpanF1
from ._span_tags import scheme_of
from ._worst_case import WorstCase

__all__ = [
    "BackwardTransfer",
    "DeltaM",
    "Drawdown",
    "Drop",
    "DropAlarm",
    "Forgetting",
    "ForgettingEvents",
    "ForwardTransfer",
    "Kept",
    "MacroF1",
    "MeanRank",
    "ScoreMatrix",
    "SpanF1",
    "WorstCase",
    "FEWEST",
    "all_finite",
    "delta_m",
    "mean_rank",
    "scheme_of",
    "near_zero",
    "relative_gains",
]
