"""A loss balancer in a training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from .._distributed import world_size
from ..balancers import Balancer
from ._balance import Balance
from ._balancer_state import balancer_state, load_balancer_state, seed_balancer
from ._observed_losses import Losses, Moment, ObservedLosses
from ._step_balance import BalancedModule, StepBalance


class LossBalancing(StepBalance):
    """Combines the losses by a loss balancer, which sees their means over all ranks.

    Args:
        balancer: The balancer.
    """

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self._observed = ObservedLosses(balancer)
        self._latest: Losses | None = None

    @property
    def positive(self) -> str | None:
        """Name of the balancer, if it needs losses of at least 0."""
        return type(self.balancer).__name__ if getattr(self.balancer, "positive", False) else None

    def build(self, names: Sequence[str]) -> None:
        """Initialise the balancer's state for the tasks."""
        self.balancer.build(names)

    def prepare(self, module: BalancedModule, trainer: L.Trainer) -> None:
        """Seed the balancer."""
        seed_balancer(self.balancer)

    def start(self) -> None:
        """Forget an earlier fit."""
        self._observed.batches, self._latest = [], None

    def total(self, losses: Tensor, tasks: Sequence[int], means: Tensor, present: Sequence[int], at: Moment) -> Tensor:
        """Return one loss: with the value that a single process would compute, and the gradients of this rank."""
        self._observed.add(present, means, at)
        if world_size() > 1 and present:
            losses = _with_values(losses, tasks, means, present)
            # Without labels too, so that ranks reduce the gradients of a balancer that learns at the same time.
            losses = losses if losses.requires_grad else losses.detach().requires_grad_()
        self._latest = present, means
        return self.balancer(losses, present) if present else losses.sum()

    def state(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return the seed of the balancer."""
        return balancer_state(self.balancer, tasks)

    def load_state(self, state: Mapping[str, Any], tasks: Sequence[str]) -> None:
        """Resume with the seed of a checkpoint."""
        load_balancer_state(self.balancer, state, tasks)

    def latest(self) -> Balance | None:
        """Return how the last step was balanced."""
        return None if self._latest is None else loss_balance(self.balancer, *self._latest)


def loss_balance(balancer: Balancer, tasks: Sequence[int], losses: Tensor) -> Balance:
    """Return how a loss balancer weighs these losses."""
    with torch.enable_grad():
        leaf = losses.detach().requires_grad_()
        (weights,) = torch.autograd.grad(balancer(leaf, tasks), leaf) if len(tasks) else (losses,)
    return Balance(tuple(balancer.names[task] for task in tasks), losses, weights)


def _with_values(losses: Tensor, tasks: Sequence[int], values: Tensor, present: Sequence[int]) -> Tensor:
    """Return losses with these values and the gradients of this rank."""
    own = dict(zip(tasks, (losses - losses.detach()).unbind(), strict=True))
    pairs = zip(present, values.unbind(), strict=True)
    return torch.stack([value + own[task] if task in own else value for task, value in pairs])
