"""Smooth Tchebycheff scalarization: a smooth maximum of the losses."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from .._checks import require_number, require_numbers
from ._base import LossBalancer
from ._numbers_per_task import per_task
from ._task_state import take


class SmoothTchebycheff(LossBalancer):
    """Minimise a smooth maximum of the losses: S = mu log(sum of exp(p[k] L[k] / mu)).

    The smaller mu is, the more the worst task dominates. It can reach every Pareto-optimal network, also on a front that is not
    convex, where weighted sums cannot. Reference: Lin et al., "Smooth Tchebycheff scalarization for multi-objective
    optimization", ICML 2024, with an ideal point of zero.

    Args:
        mu: Smoothness, in units of the losses times the preferences: if it is much smaller than these, only the worst task is
            trained.
        preferences: By name of the task, or in the order of the tasks; they are divided by their sum over the present tasks.
            Default: equal ones. Names that are no task are ignored.

    Raises:
        ValueError: `mu` or a preference is not above 0 or not finite; from `build`: a task has none.

    Example:
        >>> import torch
        >>> losses = torch.tensor([1.0, 3.0], requires_grad=True)
        >>> SmoothTchebycheff(mu=0.5)(losses).backward()
        >>> losses.grad
        tensor([0.0596, 0.4404])
    """

    given: Tensor

    def __init__(self, mu: float = 1.0, preferences: dict[str, float] | list[float] | None = None) -> None:
        super().__init__()
        require_number("mu", mu, "The paper tries 0.01 to 1.", above=0)
        require_numbers("preferences", preferences, "Equal ones need not be given.", above=0, optional=True)
        self.mu, self.preferences = mu, preferences

    def build(self, names: Sequence[str]) -> None:
        """Store the preferences in the order of the tasks."""
        super().build(names)
        if self.preferences is not None:
            self.give("given", per_task(self.preferences, names, "preferences"))

    def forward(self, losses: Float[Tensor, " present"], tasks: Sequence[int] | None = None) -> Float[Tensor, ""]:
        """Return the smooth maximum of the losses times the preferences."""
        losses, where = self.present(losses, tasks)
        if self.preferences is None:
            return self.mu * (losses / (len(losses) * self.mu)).logsumexp(0)
        given = take(self.given, where)
        return self.mu * (losses * (given / (given.sum() * self.mu))).logsumexp(0)
