"""Sine waves and straight lines."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ._base import Draw, Family, Range, checked_range, uniform
from ._sinusoid import Sinusoid


class SinusoidAndLine(Family):
    """Sine waves or straight lines, with equal probability (Finn et al., "Probabilistic MAML", NeurIPS 2018, section 6).

    Args:
        amplitude: Lower and upper limit of the amplitude of the waves.
        phase: Lower and upper limit of the phase of the waves.
        slope: Lower and upper limit of the slope of the lines.
        intercept: Lower and upper limit of the intercept of the lines.
        x: See `Family`.
        noise: See `Family`; the paper's is 0.3.

    Example:
        >>> import torch
        >>> drawn = SinusoidAndLine().draw(1000, torch.Generator().manual_seed(0))
        >>> 400 < int(drawn["line"].sum()) < 600
        True
    """

    def __init__(
        self,
        amplitude: Range = (0.1, 5.0),
        phase: Range = (0.0, math.pi),
        slope: Range = (-3.0, 3.0),
        intercept: Range = (-3.0, 3.0),
        x: Range = (-5.0, 5.0),
        noise: float = 0.0,
    ) -> None:
        super().__init__(x, noise)
        self.amplitude, self.phase = checked_range("amplitude", amplitude), checked_range("phase", phase)
        self.slope, self.intercept = checked_range("slope", slope), checked_range("intercept", intercept)
        self._waves = Sinusoid(amplitude, (1.0, 1.0), phase, x)

    def draw(self, functions: int, generator: torch.Generator) -> Draw:
        """Draw the parameters of waves and lines, and which of the two each function is."""
        lines = {name: uniform(getattr(self, name), (functions, 1), generator) for name in ("slope", "intercept")}
        line = torch.rand(functions, 1, generator=generator) < 0.5
        return {**self._waves.draw(functions, generator), **lines, "line": line}

    def value(self, draw: Draw, x: Float[Tensor, "functions points"]) -> Float[Tensor, "functions points"]:
        """Return the values of the wave or the line."""
        return torch.where(draw["line"], draw["slope"] * x + draw["intercept"], self._waves.value(draw, x))
