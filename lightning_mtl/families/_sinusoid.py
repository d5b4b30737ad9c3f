"""Sine waves."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ._base import Draw, Family, Range, rising, uniform


class Sinusoid(Family):
    """Sine waves: y = amplitude * sin(frequency * x + phase).

    The defaults are those of MAML (Finn et al. 2017, section 5.1; theirs shifts x by the phase to the other side, which draws the same
    waves). Meta-SGD (Li et al. 2017, section 4.1) draws the frequency too: frequency=(0.8, 1.2).

    Args:
        amplitude: From where to where it is drawn.
        frequency: From where to where it is drawn.
        phase: From where to where it is drawn.
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
        self.amplitude = rising("amplitude", amplitude)
        self.frequency = rising("frequency", frequency)
        self.phase = rising("phase", phase)

    def draw(self, functions: int, generator: torch.Generator) -> Draw:
        """Draw amplitudes, frequencies and phases."""
        return {
            name: uniform(getattr(self, name), (functions, 1), generator)
            for name in ("amplitude", "frequency", "phase")
        }

    def value(self, draw: Draw, x: Float[Tensor, "functions points"]) -> Float[Tensor, "functions points"]:
        """Give the waves' values."""
        return draw["amplitude"] * torch.sin(draw["frequency"] * x + draw["phase"])
