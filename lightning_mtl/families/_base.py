"""The base class of families: functions of one number that are drawn at random."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require_number, require_range

Range = Sequence[float]
Draw = Mapping[str, Tensor]
"""The parameters of drawn functions, e.g. amplitude and phase, [functions, 1] each."""


class Family(ABC):
    """Functions of one number, drawn at random; each function is a task of which a few points are known.

    Args:
        x: Lower and upper limit of the points.
        noise: Standard deviation of the noise that is added to the values of the support; queries have no noise.

    Raises:
        ValueError: An upper limit is below its lower limit, or `noise` is below 0.
    """

    def __init__(self, x: Range = (-5.0, 5.0), noise: float = 0.0) -> None:
        self.x = checked_range("x", x)
        require_number("noise", noise, "0 is none.", at_least=0)
        self.noise = noise

    @abstractmethod
    def draw(self, functions: int, generator: torch.Generator) -> Draw:
        """Draw the parameters of functions."""

    @abstractmethod
    def value(self, draw: Draw, x: Float[Tensor, "functions points"]) -> Float[Tensor, "functions points"]:
        """Return the functions' values.

        Args:
            draw: Result of `draw`.
            x: Points of each function.
        """

    def points(
        self, draw: Draw, functions: int, points: int, generator: torch.Generator
    ) -> Float[Tensor, "functions points"]:
        """Draw points for each function: by default uniformly from the range."""
        return uniform(self.x, (functions, points), generator)

    def episodes(
        self, functions: int, shots: int, queries: int, generator: torch.Generator
    ) -> dict[str, dict[str, Float[Tensor, "functions points *one"]]]:
        """Draw functions, and points of each function.

        Args:
            functions: Number of functions.
            shots: Number of points in the support.
            queries: Number of points in the query.
            generator: The random number generator.

        Returns:
            {"support": {"x": [functions, shots, 1], "y": [functions, shots]}, "query": ...}
        """
        drawn = self.draw(functions, generator)
        x = self.points(drawn, functions, shots + queries, generator)
        y = self.value(drawn, x)
        if self.noise:
            y = y.clone()
            y[:, :shots] += self.noise * torch.randn(functions, shots, generator=generator)
        return {
            "support": {"x": x[:, :shots, None], "y": y[:, :shots]},
            "query": {"x": x[:, shots:, None], "y": y[:, shots:]},
        }


def uniform(limits: Range, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw numbers uniformly from a range."""
    low, high = limits
    return torch.rand(shape, generator=generator) * (high - low) + low


def checked_range(name: str, limits: Range) -> tuple[float, float]:
    """Return a range, and check that its upper limit is not below the lower one.

    Raises:
        ValueError: It is.
    """
    require_range(name, limits, "Twice the same number is that number.")
    return float(limits[0]), float(limits[1])
