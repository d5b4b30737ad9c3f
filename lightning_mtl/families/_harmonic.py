"""Sums of two sine waves."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ._base import Draw, Family, Range, checked_range, uniform


class Harmonic(Family):
    """Sums of two sine waves, one of twice the frequency, seen in a part of x (Lacoste et al. 2018, "Uncertainty in multitask transfer learning").

    y = amplitude * sin(frequency * x + phase) + second amplitude * sin(2 * frequency * x + second phase). x is normally distributed
    with standard deviation 1 around a middle, which is drawn for each function.

    Args:
        amplitude: Lower and upper limit of the amplitudes of both waves.
        frequency: Lower and upper limit of the frequency of the first wave.
        phase: Lower and upper limit of the phases of both waves.
        middle: Lower and upper limit of the middle of x.
        noise: See `Family`.

    Example:
        >>> import torch
        >>> Harmonic().episodes(3, shots=4, queries=5, generator=torch.Generator().manual_seed(0))["query"]["x"].shape
        torch.Size([3, 5, 1])
    """

    def __init__(
        self,
        amplitude: Range = (5.0, 7.0),
        frequency: Range = (1.0, 1.0),
        phase: Range = (0.0, 2 * math.pi),
        middle: Range = (-4.0, 4.0),
        noise: float = 0.0,
    ) -> None:
        super().__init__(checked_range("middle", middle), noise)
        self.amplitude, self.frequency = checked_range("amplitude", amplitude), checked_range("frequency", frequency)
        self.phase, self.middle = checked_range("phase", phase), self.x

    def draw(self, functions: int, generator: torch.Generator) -> Draw:
        """Draw the parameters of both waves, and the middle of x."""
        limits = {
            "amplitude": self.amplitude,
            "phase": self.phase,
            "second_amplitude": self.amplitude,
            "second_phase": self.phase,
            "frequency": self.frequency,
            "middle": self.middle,
        }
        return {name: uniform(of, (functions, 1), generator) for name, of in limits.items()}

    def points(
        self, draw: Draw, functions: int, points: int, generator: torch.Generator
    ) -> Float[Tensor, "functions points"]:
        """Draw points around the middle of each function."""
        return draw["middle"] + torch.randn(functions, points, generator=generator)

    def value(self, draw: Draw, x: Float[Tensor, "functions points"]) -> Float[Tensor, "functions points"]:
        """Return the sums of both waves."""
        first = draw["amplitude"] * torch.sin(draw["frequency"] * x + draw["phase"])
        return first + draw["second_amplitude"] * torch.sin(2 * draw["frequency"] * x + draw["second_phase"])
