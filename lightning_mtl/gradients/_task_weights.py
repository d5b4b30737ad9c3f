"""The weights of the tasks' gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .._distributed import as_first_rank, sum_dtype
from ..balancers import GradientBalancer

Note = Callable[[Sequence[int], Tensor | None], None]
"""Takes the tasks that were weighed, and their Gramian."""


class TaskWeights:
    """Asks a balancer for the weights of the tasks, and keeps the latest weight of each.

    Args:
        balancer: The balancer.
        count: Number of all tasks.
        note: Called whenever the balancer returned weights.
    """

    def __init__(self, balancer: GradientBalancer, count: int, note: Note) -> None:
        self.balancer = balancer
        self.count = count
        self.latest = torch.full((count,), torch.nan, dtype=torch.float64)
        """The latest weight of each task; NaN before it has one."""
        self.overflowed = False
        """Whether the last Gramian was not finite, so that the next step must measure again."""
        self._again = False
        """Whether the optimizer runs a batch once more within its step."""
        self._before: dict[str, Tensor] = {}
        """The balancer's buffers before it remembered the Gramian of the running step."""
        self.group: Any = None
        """The process group of its messages."""
        self._note = note

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has: all but the process group, of which a fit makes another."""
        return {**vars(self), "group": None}

    def begin(self, *, again: bool) -> None:
        """Begin to run a batch: once more within a step, the balancer answers by the state before, and remembers nothing."""
        self._again = again
        if not again:
            self._before = {}

    def ask(self, gramian: Tensor, present: Sequence[int]) -> Tensor:
        """Return the weights of all tasks: new ones of those that are present, the latest ones of the others.

        The Gramian comes in the type in which it was summed up, so that solvers know how exact it is. If it is not finite (a
        scaled loss in half precision), the weights are 1: the scaler finds the overflow, and the next step measures again.

        Raises:
            ValueError: The balancer returned a weight that is not finite.
        """
        device, at = gramian.device, list(present)
        gramian = gramian.detach().cpu()
        if len(present) < self.count:
            gramian = gramian[at][:, at]
        # No entry exceeds the largest of the diagonal, and a sum is finite only where all terms are: one number to read.
        self.overflowed = not math.isfinite(float(gramian.trace()))
        if self.overflowed or not present:
            return torch.ones(self.count, device=device)
        with self._state_before():
            weights = self.balancer(gramian, present).detach().to(device, sum_dtype(device))
        if not math.isfinite(float(weights.sum())):
            raise ValueError(
                f"`balancer` must return finite weights for a finite Gramian, got {weights.tolist()} of {self.balancer} for "
                f"{gramian.tolist()}. Take another balancer."
            )
        weights = as_first_rank(weights, self.group)
        if not self._again:
            self._remember(gramian, present)
        if len(present) == self.count:
            self.latest = weights.to("cpu", torch.float64, copy=True)
        else:
            self.latest[at] = weights.to("cpu", torch.float64)
            weights = self.latest.nan_to_num(nan=1.0).to(device)
        self._note(present, gramian.double())
        return weights

    def _remember(self, gramian: Tensor, present: Sequence[int]) -> None:
        if not self._before and type(self.balancer).remember is not GradientBalancer.remember:
            self._before = {name: of.clone() for name, of in self.balancer.named_buffers()}
        self.balancer.remember(gramian, present)

    @contextmanager
    def _state_before(self) -> Iterator[None]:
        """Where a batch is run once more, put the balancer into the state in which it was run first."""
        held = dict(self.balancer.named_buffers()) if self._again else {}
        now = {name: held[name].clone() for name in self._before if self._again}
        for name in now:
            held[name].copy_(self._before[name])
        yield
        for name, of in now.items():
            held[name].copy_(of)

    def known(self, device: torch.device) -> Tensor:
        """Return the latest weights; a task that never had one gets the mean of the others."""
        known = self.latest.isfinite()
        return self.latest.where(known, self.latest[known].mean()).to(device)

    def state(self) -> dict[str, Any]:
        """Return the latest weights as plain data."""
        return {"weights": self.latest.tolist()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load the weights of a checkpoint, if it has as many tasks."""
        weights = torch.tensor(state.get("weights", ()), dtype=torch.float64)
        if len(weights) == self.count:
            self.latest = weights
