"""Sine waves."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ._base import Draw, Family, Range, checked_range, uniform


class Sinusoid(Family):
    """Sine waves: y = amplitude * sin(frequency * x + phase).

    The defaults are those of MAML (Finn et al. 2017, section 5.1; there the phase has the opposite sign, which gives the same family
    of waves). Meta-SGD (Li et al. 2017, section 4.1) also draws the frequency: frequency=(0.8, 1.2).

    Args:
        amplitude: Lower and upper limit of the amplitude.
        frequency: Lower and upper limit of the frequency.
        phase: Lower and upper limit of the phase.
        x: See `Family`.
        noise: See `Family`.

    Example:
        >>> import torch
        >>> drawn = Sinusoid().episodes(25, shots=5, queries=10, generator=torch.Generator().manual_seed(0))
        >>> drawn["support"]["x"].shape, drawn["query"]["y"].shape
        (torch.Size([25, 5, 1]), torch.Size([25, 10]))
    """

    def __init__(
        self,
        amplitude: Range = (0.1, 5.0),
        frequency: Range = (1.0, 1.0),
        phase: Range = (0.0, math.pi),
        x: Range = (-5.0, 5.0),
        noise: float = 0.0,
    ) -> None:
        super().__init__(x, noise)
        self.amplitude = checked_range("amplitude", amplitude)
        self.frequency = checked_range("frequency", frequency)
        self.phase = checked_range("phase", phase)

    def draw(self, functions: int, generator: torch.Generator) -> Draw:
        """Draw amplitudes, frequencies and phases."""
        return {
            name: uniform(getattr(self, name), (functions, 1), generator)
            for name in ("amplitude", "frequency", "phase")
        }

    def value(self, draw: Draw, x: Float[Tensor, "functions points"]) -> Float[Tensor, "functions points"]:
        """Return the waves' values."""
        return draw["amplitude"] * torch.sin(draw["frequency"] * x + draw["phase"])
