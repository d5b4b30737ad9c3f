"""Heads: a task's own layers, one kind of prediction per file."""

from ._arcs import Arcs
from ._base import Head
from ._binary import Binary
from ._by_name import ByName, module_key
from ._multiclass import Multiclass
from ._multilabel import Multilabel
from ._regression import Regression
from ._tagging import Tagging
from ._threshold import at_least_float32
from ._through import through

__all__ = [
    "Head",
    "Binary",
    "Multiclass",
    "Multilabel",
    "Regression",
    "Tagging",
    "Arcs",
    "ByName",
    "at_least_float32",
    "module_key",
    "through",
]
