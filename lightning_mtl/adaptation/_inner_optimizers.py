"""Differentiable optimizers for inner steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from .._checks import require, require_number, require_numbers

Tensors = dict[str, Tensor]


class InnerOptimizer(ABC):
    """Turns the gradients of inner steps into directions; the rate times the direction is subtracted from the parameters.

    It is a pure function of gradients and state, so that meta-gradients pass through it. Arguments are plain data, kept as
    attributes of the same name.
    """

    def begin(self, parameters: Tensors) -> Any:
        """Return the state before the first step."""
        return None

    @abstractmethod
    def directions(self, gradients: Tensors, memory: Any, step: int) -> tuple[Tensors, Any]:
        """Return the directions of a step, and the state for the next one.

        Args:
            gradients: Gradients by names of parameters.
            memory: The state.
            step: Number of the inner step, from 0.
        """


class SGD(InnerOptimizer):
    """Follow the gradients, or with momentum their decaying sum (Polyak 1964), as `torch.optim.SGD` does.

    Args:
        momentum: Share of the last direction that is kept, in [0, 1).

    Raises:
        ValueError: `momentum` is out of its range.
    """

    def __init__(self, momentum: float = 0.0) -> None:
        require_number("momentum", momentum, "0 turns it off.", at_least=0, below=1)
        self.momentum = momentum

    def directions(self, gradients: Tensors, memory: Any, step: int) -> tuple[Tensors, Any]:
        """Return the gradients, or their decaying sum."""
        if not self.momentum:
            return gradients, None
        if memory is not None:
            gradients = {name: memory[name] * self.momentum + gradient for name, gradient in gradients.items()}
        return gradients, gradients


class Adam(InnerOptimizer):
    """Divide the running mean of the gradients by their running size (Kingma and Ba 2015, algorithm 1).

    Args:
        betas: Shares of the running means of gradients and of their squares that are kept, in [0, 1).
        eps: Added to the size, for stability; also under the root, whose slope is infinite at a gradient of zero.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        require_numbers("betas", betas, "(0.9, 0.999) is usual.", at_least=0, below=1)
        require(len(betas) == 2, "betas", "two shares", betas, "(0.9, 0.999) is usual.")
        require_number("eps", eps, "1e-8 is usual.", above=0)
        self.betas = tuple(betas)
        self.eps = eps

    def begin(self, parameters: Tensors) -> Any:
        """Return means of zero."""
        zeros = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        return zeros, zeros

    def directions(self, gradients: Tensors, memory: Any, step: int) -> tuple[Tensors, Any]:
        """Return the mean gradients, each divided by its size."""
        first, second = self.betas
        means = {name: first * memory[0][name] + (1 - first) * g for name, g in gradients.items()}
        squares = {name: second * memory[1][name] + (1 - second) * g * g for name, g in gradients.items()}
        mean_bias, square_bias = 1 - first ** (step + 1), 1 - second ** (step + 1)
        sizes = {name: (square / square_bias + self.eps**2).sqrt() + self.eps for name, square in squares.items()}
        return {name: mean / mean_bias / sizes[name] for name, mean in means.items()}, (means, squares)
