"""Families of functions: an endless supply of regression tasks, each drawn at random."""

from ._base import Draw, Family
from ._harmonic import Harmonic
from ._line import SinusoidAndLine
from ._sinusoid import Sinusoid

__all__ = ["Family", "Draw", "Sinusoid", "SinusoidAndLine", "Harmonic"]
