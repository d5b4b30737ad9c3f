"""Inputs: one kind of input column per file, and all input columns of a source together."""

from ._base import Columns, Input
from ._finite import refuse_not_finite
from ._image import Image
from ._inputs import Inputs
from ._own import Own
from ._plain import Plain
from ._table import Table
from ._tensors import label_values, shown_values, stacked
from ._text import Text
from ._values import are_dates, missing
from ._words import RAW, WORDS, Words

__all__ = [
    "Input",
    "Inputs",
    "Text",
    "Words",
    "Table",
    "Image",
    "Plain",
    "Own",
    "WORDS",
    "RAW",
    "Columns",
    "stacked",
    "refuse_not_finite",
    "label_values",
    "shown_values",
    "missing",
    "are_dates",
]
