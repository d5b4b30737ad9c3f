"""Weights that keep all losses falling at one rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ._base import EPSILON, LossBalancer
from ._checks import listed, per_task, require
from ._kept import Index, take

_FIRST, _SECOND, _ADAM_EPSILON = 0.9, 0.999, 1e-8
_NOWHERE = -1e30
"""A logit that takes no part in a softmax, finite so that a step without any other stays finite."""


class FAMO(LossBalancer):
    """Keep all losses falling at one relative rate: the gradient of S is c sum of z[k] / (L[k] - b[k]) times that of L[k].

    z is a softmax of logits, b the lowest values of the losses, and c makes the weights add up to 1, so they begin as inverse
    losses. After each step, Adam moves the logits of tasks whose log(L - b) fell less than average upwards. Reference: Liu
    et al., "FAMO: fast adaptive multitask optimization", NeurIPS 2023.

    The paper evaluates the same batch once more after the step; here the losses of the next step stand for it, which costs
    nothing and adds the noise of the batch. The logits of a task move only when the step before had it too.

    Args:
        lr: Of the logits.
        gamma: Weight decay of the logits.
        min_losses: Values that the losses never go below, by name of the task, or in the order of the tasks. Default: 0.
            Names of no task are left out.

    Raises:
        ValueError: `lr` or `gamma` is negative or not finite, or a lowest loss is; from `build`: a task has none.

    Example:
        >>> import torch
        >>> losses = torch.tensor([0.5, 2.0], requires_grad=True)
        >>> balancer = FAMO()
        >>> balancer.observe(losses.detach(), step=0, epoch=0)
        >>> balancer(losses).backward()
        >>> losses.grad
        tensor([0.8000, 0.2000])
    """

    kept: ClassVar = {
        "logits": 0.0,
        "last": math.nan,  # logarithms of the losses of the last step
        "first_moments": 0.0,
        "second_moments": 0.0,
        "first_shares": 0.0,  # what Adam divides the moments by: the share that is not their zero at the start
        "second_shares": 0.0,
    }
    logits: Tensor
    last: Tensor
    first_moments: Tensor
    second_moments: Tensor
    first_shares: Tensor
    second_shares: Tensor
    lowest: Tensor

    def __init__(
        self, lr: float = 0.025, gamma: float = 1e-3, min_losses: dict[str, float] | list[float] | None = None
    ) -> None:
        super().__init__()
        require(0 <= lr < math.inf, "lr", "finite and not negative", lr, "The paper's is 0.025.")
        require(0 <= gamma < math.inf, "gamma", "finite and not negative", gamma, "The paper's is 0.001.")
        holds = all(map(math.isfinite, listed(min_losses)))
        require(holds, "min_losses", "finite", min_losses, "Losses that stay above 0 need none.")
        self.lr, self.gamma, self.min_losses = lr, gamma, min_losses
        self.positive = min_losses is None

    def build(self, names: Sequence[str]) -> None:
        """Make the logits and what Adam knows of them."""
        super().build(names)
        if self.min_losses is not None:
            self.give("lowest", per_task(self.min_losses, names, "min_losses"))

    def observe(
        self, losses: Float[Tensor, " present"], step: int, epoch: int, tasks: Sequence[int] | None = None
    ) -> None:
        """Move the logits by what the last step did to the losses."""
        super().observe(losses, step, epoch, tasks)
        losses, there = self.present(losses, tasks)
        logs = self._gaps(losses, there).log()
        if there is not None:
            logs = torch.full_like(self.last, math.nan).index_copy(0, there, logs)
        self._move(self.last - logs)
        self.last.copy_(logs)

    def _move(self, change: Float[Tensor, " tasks"]) -> None:
        """Take a step of Adam on the logits of the tasks whose change is known."""
        known = change.isfinite()
        change = change.where(known, 0.0)
        z = self.logits.where(known, _NOWHERE).softmax(0)
        gradient = z * (change - z @ change) + self.gamma * self.logits
        rate = known.to(gradient.dtype)
        first = _average(self.first_moments, self.first_shares, gradient, rate * (1 - _FIRST))
        second = _average(self.second_moments, self.second_shares, gradient.square(), rate * (1 - _SECOND))
        moved = self.logits - self.lr * first / (second.sqrt() + _ADAM_EPSILON)
        self.logits.copy_(moved.where(known, self.logits))

    def _gaps(self, losses: Float[Tensor, " present"], there: Index) -> Float[Tensor, " present"]:
        """Measure how far the losses are above their lowest values."""
        return (losses if self.min_losses is None else losses - take(self.lowest, there)) + EPSILON

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Add up the losses times the weights."""
        losses, there = self.present(losses, tasks)
        shares = take(self.logits, there).softmax(0) / self._gaps(losses.detach(), there)
        return (shares / shares.sum()) @ losses


def _average(
    moments: Float[Tensor, " tasks"],
    shares: Float[Tensor, " tasks"],
    values: Float[Tensor, " tasks"],
    rate: Float[Tensor, " tasks"],
) -> Float[Tensor, " tasks"]:
    """Move the moments towards values, and divide them by the share of them that is not the zero they began with."""
    return moments.lerp_(values, rate) / shares.lerp_(torch.ones_like(shares), rate)
