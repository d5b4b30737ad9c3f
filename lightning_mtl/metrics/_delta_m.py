"""Delta-m: the relative gain of a run over a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require, require_numbers
from ._kept import Kept

Reduction = Literal["metric", "task"]


def delta_m(
    values: Float[Tensor, "*runs metrics"],
    baseline: Float[Tensor, " metrics"],
    higher_is_better: Sequence[bool],
    reduction: Reduction = "metric",
    tasks: Sequence[str] | None = None,
) -> Float[Tensor, "*runs"]:
    """Average the relative gains of metrics over their baselines, in percent; positive is better.

    100 mean_m s_m (N_m - B_m) / |B_m|, where s_m is 1 if higher is better for metric m, else -1: Maninis et al., "Attentive
    single-tasking of multiple tasks", CVPR 2019, section 4. Published tables differ in two ways. Those that follow Nash-MTL (NYUv2,
    Cityscapes, QM9, CelebA) average over metrics and have the opposite sign: a drop is positive, and lower is better. LibMTL averages
    within each task and then over tasks. Metrics with small baselines have the largest influence.

    Args:
        values: The metrics of one or more runs.
        baseline: The metrics of the baseline, such as one network for each task; none may be 0.
        higher_is_better: For each metric, whether higher is better.
        reduction: "metric" averages over all metrics, "task" within each task and then over tasks.
        tasks: The task of each metric, for "task".

    Raises:
        ValueError: A baseline is 0, the numbers of metrics differ, or "task" has no `tasks`.

    Example:
        >>> import torch
        >>> delta_m(torch.tensor([0.55, 1.8]), torch.tensor([0.50, 2.0]), [True, False])
        tensor(10.0000)
    """
    _check(baseline, higher_is_better, reduction, tasks)
    metrics = values.shape[-1]
    require(metrics == len(baseline), "values", f"{len(baseline)} metrics", metrics, "As many as the baseline has.")
    sign = 2 * torch.tensor(higher_is_better, device=baseline.device).to(baseline) - 1
    gains = 100 * sign * (values - baseline) / baseline.abs()
    weights = torch.tensor(_weights(len(baseline), reduction, tasks), device=gains.device).to(gains)
    return (gains * weights).sum(-1)


class DeltaM(Kept):
    """The relative gain of runs over a baseline, in percent, averaged over the runs; positive is better.

    See `delta_m` for its definition, and for definitions of others.

    Args:
        baseline: Metrics of the baseline; none may be 0.
        higher_is_better: For each metric, whether higher is better.
        reduction: "metric" averages over all metrics, "task" within each task and then over tasks.
        tasks: The task of each metric, for "task".

    Raises:
        ValueError: A baseline is 0, the numbers of metrics differ, or "task" has no `tasks`.

    Example:
        >>> import torch
        >>> metric = DeltaM([0.50, 2.0], higher_is_better=[True, False])
        >>> metric.update(torch.tensor([0.55, 1.8]))
        >>> metric.compute()
        tensor(10.0000)
    """

    higher_is_better = True
    full_state_update = False
    baseline: Tensor
    total: Tensor
    runs: Tensor

    def __init__(
        self,
        baseline: Sequence[float],
        *,
        higher_is_better: Sequence[bool],
        reduction: Reduction = "metric",
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        given: object = baseline
        if not isinstance(given, Tensor):
            require_numbers("baseline", given, "Give those of the single tasks.", finite=False)
        self.register_buffer("baseline", torch.tensor(baseline, dtype=torch.get_default_dtype()), persistent=False)
        _check(self.baseline, higher_is_better, reduction, tasks)
        self.directions, self.reduction, self.tasks = list(higher_is_better), reduction, tasks
        self.keep("total", torch.tensor(0.0), "sum")
        self.keep("runs", torch.tensor(0), "sum")

    def update(self, values: Float[Tensor, " metrics"]) -> None:
        """Update with the metrics of a run.

        Args:
            values: The metrics, in the order of the baseline.
        """
        gain = delta_m(values.to(self.baseline), self.baseline, self.directions, self.reduction, self.tasks)
        self.total, self.runs = self.total + gain, self.runs + 1

    def compute(self) -> Float[Tensor, ""]:
        """Return the mean gain of all runs."""
        return self.total / self.runs


def _check(
    baseline: Tensor, higher_is_better: Sequence[bool], reduction: Reduction, tasks: Sequence[str] | None
) -> None:
    values = baseline.tolist()
    require(all(values), "baseline", "other than 0", values, "A relative gain needs it: leave out that metric.")
    remedy = "Give one for each metric of the baseline."
    require(len(higher_is_better) == len(values), "higher_is_better", f"{len(values)} flags", higher_is_better, remedy)
    require(reduction in ("metric", "task"), "reduction", "'metric' or 'task'", reduction, "'metric' is the default.")
    named = reduction == "metric" or len(tasks or ()) == len(values)
    require(named, "tasks", f"{len(values)} names where `reduction` is 'task'", tasks, remedy)


def _weights(count: int, reduction: Reduction, tasks: Sequence[str] | None) -> list[float]:
    if reduction == "metric" or tasks is None:
        return [1 / count] * count
    return [1 / (tasks.count(task) * len(set(tasks))) for task in tasks]
