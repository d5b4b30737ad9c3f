"""Mean rank: which method is best on average."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require, require_number
from ._kept import Kept


def mean_rank(values: Float[Tensor, "methods metrics"], higher_is_better: Sequence[bool]) -> Float[Tensor, " methods"]:
    """Rank the methods by each metric, 1 for the best, and average over metrics.

    Methods with equal values share the mean of their ranks, and NaN ranks last. The size of differences does not count, and the rank
    of a method depends on which others are compared.

    Args:
        values: The value of each method in each metric.
        higher_is_better: For each metric, whether higher is better.

    Raises:
        ValueError: The number of flags is not the number of metrics.

    Example:
        >>> import torch
        >>> mean_rank(torch.tensor([[0.9, 2.0], [0.8, 1.0], [0.8, 3.0]]), [True, False])
        tensor([1.5000, 1.7500, 2.7500])
    """
    count = values.shape[-1]
    remedy = "Give one for each metric."
    require(len(higher_is_better) == count, "higher_is_better", f"{count} flags", higher_is_better, remedy)
    signed = torch.where(torch.tensor(higher_is_better, device=values.device), values, -values)
    signed = torch.where(signed.isnan(), -torch.inf, signed)
    better = (signed[None] > signed[:, None]).sum(1)
    equal = (signed[None] == signed[:, None]).sum(1)
    return (better + (equal + 1) / 2).to(values).mean(1)


class MeanRank(Kept):
    """The mean rank of each method over all metrics, averaged over all updates; lower is better.

    See `mean_rank`; publications on multi-task learning call it MR.

    Args:
        methods: Number of methods.
        higher_is_better: For each metric, whether higher is better.

    Raises:
        ValueError: There is no method; from `update`: the number of methods is wrong.

    Example:
        >>> import torch
        >>> metric = MeanRank(2, higher_is_better=[True, False])
        >>> metric.update(torch.tensor([[0.9, 2.0], [0.8, 3.0]]))
        >>> metric.update(torch.tensor([[0.9, 2.0], [0.9, 1.0]]))
        >>> metric.compute()
        tensor([1.3750, 1.6250])
    """

    higher_is_better = False
    full_state_update = False
    total: Tensor
    updates: Tensor

    def __init__(self, methods: int, *, higher_is_better: Sequence[bool]) -> None:
        super().__init__()
        require_number("methods", methods, "Give the number of methods.", at_least=1, whole=True)
        self.directions = list(higher_is_better)
        self.keep("total", torch.zeros(methods), "sum")
        self.keep("updates", torch.tensor(0), "sum")

    def update(self, values: Float[Tensor, "methods metrics"]) -> None:
        """Update with the results of the methods, e.g. those of one seed.

        Args:
            values: The value of each method in each metric.
        """
        methods = len(self.total)
        require(
            len(values) == methods, "values", f"of {methods} methods", len(values), "Write NaN for one without a value."
        )
        self.total, self.updates = self.total + mean_rank(values, self.directions), self.updates + 1

    def compute(self) -> Float[Tensor, " methods"]:
        """Return the mean ranks."""
        return self.total / self.updates
