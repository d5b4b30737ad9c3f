"""FAMO: weights with which all losses fall at one relative rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require_number, require_numbers
from ._base import EPSILON, LossBalancer
from ._numbers_per_task import per_task
from ._task_state import Index, take, task_index

_BETA1, _BETA2, _ADAM_EPSILON = 0.9, 0.999, 1e-8


class FAMO(LossBalancer):
    """Let all losses fall at one relative rate: grad S = c (sum of z[k] / (L[k] - b[k]) grad L[k]).

    z is a softmax of logits, b are the lowest values of the losses, and c makes the weights add up to 1. So the weights start as
    inverse losses. After each step, Adam raises the logits of tasks whose log(L - b) fell less than average. Reference: Liu
    et al., "FAMO: fast adaptive multitask optimization", NeurIPS 2023.

    The paper evaluates the same batch again after the step. Here the losses of the next step are used instead, which costs
    nothing and adds the noise of the batch. The logit of a task changes only if the last step had the task too.

    Args:
        lr: Learning rate of the logits.
        gamma: Weight decay of the logits.
        min_losses: Lower bounds of the losses, by name of the task or in the order of the tasks. Default: 0. Names that are
            no task are ignored.

    Raises:
        ValueError: `lr` or `gamma` is negative or not finite, or a bound is not finite; from `build`: a task has none.

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
    """Logarithms of the losses of the last step; NaN for tasks that were not in it."""
    first_moments: Tensor
    second_moments: Tensor
    updates: Tensor
    lowest: Tensor
    _last_tasks: frozenset[int]

    def __init__(
        self, lr: float = 0.025, gamma: float = 1e-3, min_losses: dict[str, float] | list[float] | None = None
    ) -> None:
        super().__init__()
        require_number("lr", lr, "The paper's is 0.025.", at_least=0)
        require_number("gamma", gamma, "The paper's is 0.001.", at_least=0)
        require_numbers("min_losses", min_losses, "Losses that stay above 0 need none.", optional=True)
        self.lr, self.gamma, self.min_losses = lr, gamma, min_losses
        self.positive = min_losses is None
        self._read_state()

    def build(self, names: Sequence[str]) -> None:
        """Create the logits and the state of Adam."""
        super().build(names)
        if self.min_losses is not None:
            self.give("lowest", per_task(self.min_losses, names, "min_losses"))
        self._read_state()

    def observe(
        self, losses: Float[Tensor, " present"], step: int, epoch: int, tasks: Sequence[int] | None = None
    ) -> None:
        """Update the logits by the change of the losses since the last step."""
        super().observe(losses, step, epoch, tasks)
        losses, where = self.present(losses, tasks)
        logs, last = self._gaps(losses, where).log(), self.last
        if where is not None:
            logs = torch.full_like(last, math.nan).index_copy_(0, where, logs.to(last.dtype))
        now = self._all_tasks if where is None or tasks is None else frozenset(tasks)
        if both := now if now is self._last_tasks else now & self._last_tasks:
            of_both = None if both is self._all_tasks else task_index(sorted(both), len(last), last.device)
            self._update_logits(last - logs, of_both, both)
        last.copy_(logs)
        self._last_tasks = now

    def _update_logits(self, change: Float[Tensor, " tasks"], where: Index, both: frozenset[int]) -> None:
        """Take a step of Adam on the logits of the tasks that are in this step and in the last one."""
        logits, first, second = self.logits, self.first_moments, self.second_moments
        if where is not None:
            change, logits, first, second = (kept[where] for kept in (change, logits, first, second))
        z = logits.softmax(0)
        gradient = (z * (change - z @ change)).add_(logits, alpha=self.gamma)
        first.lerp_(gradient, 1 - _BETA1)
        second.lerp_(gradient.square_(), 1 - _BETA2)
        self._adam_step(logits, first, second, self._count_update(both, where))
        if where is not None:
            self.logits[where], self.first_moments[where], self.second_moments[where] = logits, first, second

    def _adam_step(
        self,
        logits: Float[Tensor, " both"],
        first: Float[Tensor, " both"],
        second: Float[Tensor, " both"],
        n: int | Float[Tensor, " both"],
    ) -> None:
        """Take the n-th step of Adam; the bias corrections are part of the rate."""
        correction = (1 - _BETA2**n) ** 0.5
        rate = self.lr * correction / (1 - _BETA1**n)
        if isinstance(rate, Tensor):
            first, rate = first * rate, 1.0
        logits.addcdiv_(first, second.sqrt().add_(_ADAM_EPSILON * correction), value=-rate)

    def _count_update(self, both: frozenset[int], where: Index) -> int | Float[Tensor, " both"]:
        """Count the updates, and return one number if it is the same for all tasks, which saves work on the device."""
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
        """Load the state, and copy what each step needs to the host, so that no step waits for the device."""
        super()._load_from_state_dict(*args, **options)
        self._read_state()

    def _read_state(self) -> None:
        self._all_tasks = frozenset(range(len(self.names)))
        self._counts = [int(count) for count in self.updates.tolist()] if self.names else []
        known = self.last.isfinite().tolist() if self.names else []
        last_tasks = frozenset(task for task, is_known in enumerate(known) if is_known)
        self._last_tasks = self._all_tasks if last_tasks == self._all_tasks else last_tasks

    def _gaps(self, losses: Float[Tensor, " present"], where: Index) -> Float[Tensor, " present"]:
        """Return how far the losses are above their lower bounds."""
        return (losses if self.min_losses is None else losses - take(self.lowest, where)) + EPSILON

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Return the weighted sum of the losses."""
        losses, where = self.present(losses, tasks)
        shares = take(self.logits, where).softmax(0) / self._gaps(losses.detach(), where)
        return (shares / shares.sum()) @ losses
