"""What a task's metric counts for the score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics import classification as classes

from ..metrics import SpanF1

Score = str | Callable[[float], float]
"""The name of the metric that counts for the score, or a function of the first metric's value: higher is better."""

_BEST = {SpanF1: 1.0}
_OPEN = (  # torchmetrics declares a bound that they exceed
    classes.BinaryHingeLoss,
    classes.MulticlassHingeLoss,
    classes.MultilabelCoverageError,
)


@dataclass(frozen=True)
class Scoring:
    """How the value of a task's metric becomes its score, which is averaged over tasks: higher is better, 1 is best.

    Args:
        task: Name of the task.
        metric: Name of the metric that counts.
        sign: 1 where higher is better, -1 where lower is.
        bound: Its highest possible value, where it has one.
        own: The user's own function of the value.
    """

    task: str
    metric: str
    sign: int
    bound: float | None = None
    own: Callable[[float], float] | None = None

    @property
    def needs_baseline(self) -> bool:
        """Whether the value counts as a share of a plain baseline's."""
        return self.own is None and self.bound is None

    def __call__(self, value: float, baselines: Sequence[float]) -> float:
        """Return the score; NaN where it is not defined.

        Args:
            value: The metric.
            baselines: The metric of constant predictions on the same rows, for `needs_baseline`.

        Raises:
            ValueError: The user's own function returns no number.
        """
        if self.own is not None:
            return self._own(value)
        if self.bound is not None:
            share = value / self.bound if self.bound > 1 or self.sign < 0 else value
            return share if self.sign > 0 else 1 - share
        known = [of for of in baselines if math.isfinite(of)]
        plain = self.sign * max((self.sign * of for of in known), default=0.0)
        return self.sign * (value - plain) / abs(plain) if plain else math.nan

    def _own(self, value: float) -> float:
        assert self.own is not None
        found: Any = self.own(value)
        if isinstance(found, bool) or not isinstance(found, Real | Tensor):
            raise ValueError(
                f"`score` of task {self.task!r} must return a number, got {found!r} for {value:.4g}. It gets the value of {self.metric!r}; higher "
                "is better."
            )
        return float(found)


def scoring_of(task: str, metrics: Mapping[str, Any], score: Score | None) -> Scoring | None:
    """Return how the value of a task's main metric becomes its score; None where it has no metrics.

    Args:
        task: Name of the task.
        metrics: Its metrics.
        score: What the user says.

    Raises:
        ValueError: The metric does not say which direction is better, or `score` names none.
    """
    if not metrics:
        return None
    name = score if isinstance(score, str) else next(iter(metrics))
    if name not in metrics:
        raise ValueError(
            f"`score` of task {task!r} must be a function or the name of one of its metrics, {list(metrics)}, got {name!r}."
        )
    own = None if isinstance(score, str) else score
    return Scoring(task, name, direction_of(task, metrics[name]), bound_of(metrics[name]), own)


def bound_of(metric: Any) -> float | None:
    """Return the highest possible value that a metric declares; None for one that may be any number."""
    declared = next((best for kind, best in _BEST.items() if isinstance(metric, kind)), None)
    found = getattr(metric, "plot_upper_bound", None) if declared is None else declared
    if isinstance(metric, _OPEN) or isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if 0 < found < math.inf else None


def direction_of(task: str, metric: Any) -> int:
    """Return 1 where higher is better, -1 where lower is.

    Raises:
        ValueError: The metric does not say so.
    """
    better = metric.higher_is_better if isinstance(metric, Metric) else None
    if better is None:
        raise ValueError(
            f"The first of the `metrics` of task {task!r} must say whether higher is better, since it counts for "
            f"the score; got {type(metric).__name__}. Put one first whose `higher_is_better` is true or false."
        )
    return 1 if better else -1
