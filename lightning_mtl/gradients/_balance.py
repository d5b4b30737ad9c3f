"""How a step was balanced."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Balance:
    """How a step was balanced.

    Args:
        tasks: Names of the tasks in the step.
        losses: Their losses, times `Task.weight`, averaged over the ranks.
        weights: The factor of each task's loss, or gradient.
        gramian: Inner products of their gradients, of the features or of the shared parameters, on the CPU. None where the
            balancer reads losses, and in steps that `refresh_every` skips.
    """

    tasks: tuple[str, ...]
    losses: Tensor
    weights: Tensor
    gramian: Tensor | None = None

    @property
    def norms(self) -> Tensor | None:
        """The norm of each task's gradient; None where there is no Gramian."""
        return None if self.gramian is None else self.gramian.diagonal().sqrt()

    @property
    def cosines(self) -> Tensor | None:
        """The cosine between each two tasks' gradients; below 0 they conflict. None where there is no Gramian."""
        if self.gramian is None:
            return None
        norms = self.gramian.diagonal().sqrt()
        return self.gramian / (norms[:, None] * norms)


def joined(lower: Balance, upper: Balance) -> Balance:
    """Join the balance of a level and that of the levels above; inner products between them are not measured (NaN)."""
    parts = [part.gramian for part in (lower, upper) if part.gramian is not None]
    gramian = torch.block_diag(*parts) if len(parts) == 2 else None  # type: ignore[no-untyped-call]
    if gramian is not None:
        count = len(lower.tasks)
        gramian[:count, count:] = gramian[count:, :count] = torch.nan
    losses, weights = torch.cat([lower.losses, upper.losses]), torch.cat([lower.weights, upper.weights])
    return Balance(lower.tasks + upper.tasks, losses, weights, gramian)
