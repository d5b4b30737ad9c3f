"""Which way an inner step goes, given the gradients: differentiable optimizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class InnerOptimizer(ABC):
    """Turns the gradients of inner steps into directions; a step goes against them, times a rate.

    It is a pure function of what it remembers, so that meta-gradients pass through it. Arguments are plain data, kept under their names.
    """

    def begin(self, parameters: Tensors) -> Any:
        """Give what it remembers before the first step."""
        return None

    @abstractmethod
    def directions(self, gradients: Tensors, memory: Any, step: int) -> tuple[Tensors, Any]:
        """Give the directions of a step, and what to remember for the next one.

        Args:
            gradients: By names of parameters.
            memory: What it remembers.
            step: Number of the inner step, from 0.
        """


class SGD(InnerOptimizer):
    """Follow the gradients; with momentum, their decaying sum (Polyak 1964), as `torch.optim.SGD` does.

    Args:
        momentum: Share of the last direction that is kept, in [0, 1).

    Raises:
        ValueError: `momentum` is out of its range.
    """

    def __init__(self, momentum: float = 0.0) -> None:
        _refuse_share("momentum", momentum)
        self.momentum = momentum

    def directions(self, gradients: Tensors, memory: Any, step: int) -> tuple[Tensors, Any]:
        """Give the gradients, or their decaying sum."""
        if not self.momentum:
            return gradients, None
        if memory is not None:
            gradients = {name: memory[name] * self.momentum + gradient for name, gradient in gradients.items()}
        return gradients, gradients


class Adam(InnerOptimizer):
    """Scale gradients by their running size (Kingma and Ba 2015, algorithm 1).

    Args:
        betas: Shares of the running means of gradients and of their squares that are kept, in [0, 1).
        eps: Added to the size, for stability; within the root too, whose slope is infinite at a gradient of zero.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        for beta in betas:
            _refuse_share("betas", beta)
        if not eps > 0:
            raise ValueError(f"`eps` must be above 0, got {eps}.")
        self.betas = tuple(betas)
        self.eps = eps

    def begin(self, parameters: Tensors) -> Any:
        """Begin with means of zero."""
        zeros = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        return zeros, zeros

    def directions(self, gradients: Tensors, memory: Any, step: int) -> tuple[Tensors, Any]:
        """Give the mean gradients, each divided by its size."""
        first, second = self.betas
        means = {name: first * memory[0][name] + (1 - first) * g for name, g in gradients.items()}
        squares = {name: second * memory[1][name] + (1 - second) * g * g for name, g in gradients.items()}
        by_mean, by_square = 1 - first ** (step + 1), 1 - second ** (step + 1)
        sizes = {name: (square / by_square + self.eps**2).sqrt() + self.eps for name, square in squares.items()}
        return {name: mean / by_mean / sizes[name] for name, mean in means.items()}, (means, squares)


def _refuse_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"`{name}` must lie in [0, 1), got {value}.")
