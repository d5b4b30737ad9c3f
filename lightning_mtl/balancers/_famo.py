"""Weights that keep all losses falling at one rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require
from ._base import EPSILON, LossBalancer
from ._kept import Index, index, take
from ._numbers_per_task import listed, per_task

_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8
"""Of Adam."""


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

    kept: ClassVar = {"logits": 0.0, "last": math.nan, "first_moments": 0.0, "second_moments": 0.0, "updates": 0.0}
    logits: Tensor
    last: Tensor
    """Logarithms of the losses of the last step; NaN for tasks that it did not have."""
    first_moments: Tensor
    second_moments: Tensor
    updates: Tensor
    lowest: Tensor
    _before: frozenset[int]

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
        self._read()

    def build(self, names: Sequence[str]) -> None:
        """Make the logits and what Adam knows of them."""
        super().build(names)
        if self.min_losses is not None:
            self.give("lowest", per_task(self.min_losses, names, "min_losses"))
        self._read()

    def observe(
        self, losses: Float[Tensor, " present"], step: int, epoch: int, tasks: Sequence[int] | None = None
    ) -> None:
        """Move the logits by what the last step did to the losses."""
        super().observe(losses, step, epoch, tasks)
        losses, there = self.present(losses, tasks)
        logs, last = self._gaps(losses, there).log(), self.last
        if there is not None:
            logs = torch.full_like(last, math.nan).index_copy_(0, there, logs.to(last.dtype))
        now = self._all if there is None or tasks is None else frozenset(tasks)
        if both := now if now is self._before else now & self._before:
            self._move(last - logs, None if both is self._all else index(sorted(both), len(last), last.device), both)
        last.copy_(logs)
        self._before = now

    def _move(self, change: Float[Tensor, " tasks"], where: Index, both: frozenset[int]) -> None:
        """Take a step of Adam on the logits of the tasks that the last step had too."""
        logits, first, second = self.logits, self.first_moments, self.second_moments
        if where is not None:
            change, logits, first, second = (kept[where] for kept in (change, logits, first, second))
        z = logits.softmax(0)
        gradient = (z * (change - z @ change)).add_(logits, alpha=self.gamma)
        first.lerp_(gradient, 1 - _FIRST)
        second.lerp_(gradient.square_(), 1 - _SECOND)
        self._step(logits, first, second, self._count(both, where))
        if where is not None:
            self.logits[where], self.first_moments[where], self.second_moments[where] = logits, first, second

    def _step(
        self,
        logits: Float[Tensor, " both"],
        first: Float[Tensor, " both"],
        second: Float[Tensor, " both"],
        n: int | Float[Tensor, " both"],
    ) -> None:
        """Move logits by Adam's n-th step; its corrections of the start are put into the rate."""
        correction = (1 - _SECOND**n) ** 0.5
        rate = self.lr * correction / (1 - _FIRST**n)
        if isinstance(rate, Tensor):
            first, rate = first * rate, 1.0
        logits.addcdiv_(first, second.sqrt().add_(_EPSILON * correction), value=-rate)

    def _count(self, both: frozenset[int], where: Index) -> int | Float[Tensor, " both"]:
        """Count the updates: one number where all tasks have as many, which saves work on the device."""
        updates, counts = self.updates, self._counts
        if where is None:
            updates += 1
        else:
            updates[where] += 1
        for task in both:
            counts[task] += 1
        seen = {counts[task] for task in both}
        return seen.pop() if len(seen) == 1 else take(updates, where)

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        """Load, and read on the host what is on the device, so that no step has to."""
        super()._load_from_state_dict(*args, **options)
        self._read()

    def _read(self) -> None:
        self._all = frozenset(range(len(self.names)))
        self._counts = [int(count) for count in self.updates.tolist()] if self.names else []
        there = self.last.isfinite().tolist() if self.names else []
        before = frozenset(task for task, was in enumerate(there) if was)
        self._before = self._all if before == self._all else before

    def _gaps(self, losses: Float[Tensor, " present"], there: Index) -> Float[Tensor, " present"]:
        """Measure how far the losses are above their lowest values."""
        return (losses if self.min_losses is None else losses - take(self.lowest, there)) + EPSILON

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Add up the losses times the weights."""
        losses, there = self.present(losses, tasks)
        shares = take(self.logits, there).softmax(0) / self._gaps(losses.detach(), there)
        return (shares / shares.sum()) @ losses
