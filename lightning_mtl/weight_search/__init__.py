"""A search for the best fixed weights of the losses, beside as many trials of a balancer."""

from ._drawing import draw_weights
from ._result import Arm, Trial, WeightSearch
from ._search import EQUAL, FIXED, search_weights
from ._trials import name_of

__all__ = [
    "Arm",
    "Trial",
    "WeightSearch",
    "draw_weights",
    "name_of",
    "search_weights",
    "EQUAL",
    "FIXED",
]
