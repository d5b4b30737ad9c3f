"""The cut between the shared part and the heads, where the tasks' gradients meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..encoders import Features
from ._step import Step

Measure = Callable[[Tensor, Tensor], Tensor]
"""Maps the inner products of all tasks' gradients [K, K], and the scale of the gradients, to the weights [K]."""


class Cut:
    """The cut of one step: each task reads the shared features through a gate, and its gradient returns through it.

    The gate returns the sum of these gradients: without weights, or with the weights that were set. With `measure`, it finds the
    weights itself, when all gradients have arrived.

    Args:
        count: Number of all tasks.
        measure: Finds the weights from the gradients of the features. Default: `weigh` sets them.
        heads: Whether the heads are weighed too; then the losses are weighed instead of the gradients at the gate.
    """

    def __init__(self, count: int, measure: Measure | None = None, *, heads: bool = False) -> None:
        self.count = count
        self.measure = measure
        self.heads = heads
        self.weights: Tensor | None = None
        self.shared: list[Tensor] = []
        """The distinct features that tasks read."""
        self.unit: Tensor | None = None
        """A tensor with the value 1, whose gradient is the scale of all gradients of the step."""
        self._views: list[tuple[int, int]] = []

    def gated(self, features: Sequence[Mapping[int, Features]]) -> list[dict[int, Features]]:
        """Pass the features of every source through one gate.

        Args:
            features: For each source the features of the tasks that read it, by their numbers.
        """
        places: dict[int, int] = {}
        for task, values in ((task, _values(of)) for source in features for task, of in source.items()):
            if id(values) not in places:
                places[id(values)] = len(self.shared)
                self.shared.append(values)
            self._views.append((places[id(values)], task))
        self.unit, *views = _Gate.apply(self, *self.shared)  # type: ignore[no-untyped-call]
        outputs = iter(views)
        return [{task: _with(of, next(outputs)) for task, of in source.items()} for source in features]

    def checked_unit(self, step: Step) -> Tensor:
        """Return `unit`, and check that the features of a step have passed through the cut.

        Raises:
            ValueError: They have not, or the encoder gives each task features of its own.
        """
        if self.unit is None:
            raise ValueError(
                "`run` must pass the features through `self.cut` where there is one, got a step that did not. Call super().run(batch), "
                "or features = self.cut.gated(features)."
            )
        passes = [result.forward_pass for result in step.results if result.forward_pass is not None]
        if self.measure is not None and passes and len(self.shared) > max(passes) + 1:
            raise ValueError(
                "`scope` must be 'parameters' where the encoder gives each task features of its own, got 'representation'. Give "
                "scope='parameters'."
            )
        return self.unit

    def weighed(self, losses: Tensor, tasks: Sequence[int]) -> Tensor:
        """Pass the losses of these tasks through a gate of their own, where the heads are weighed too."""
        return _Weigh.apply(self, tasks, losses) if self.heads else losses  # type: ignore[no-untyped-call]

    def weigh(self, weights: Tensor) -> None:
        """Set the weights of the tasks."""
        self.weights = weights

    def close(self) -> None:
        """Release the features, whose graph refers to this cut."""
        self.shared, self._views, self.unit, self.measure = [], [], None, None

    def combined(self, unit: Tensor | None, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Add up the tasks' gradients of the features, weighed if the weights are known."""
        rows: list[list[Tensor]] = [[] for _ in self.shared]
        tasks: list[list[int]] = [[] for _ in self.shared]
        for (place, task), gradient in zip(self._views, gradients, strict=True):
            if gradient is not None:
                rows[place].append(gradient)
                tasks[place].append(task)
        stacked = [torch.stack(row) if row else None for row in rows]
        if self.weights is None and self.measure is not None:
            assert unit is not None, "the loss must hold the cut's `unit`"
            self.weights = self.measure(self._gramian(stacked, tasks), unit)
        weights = None if self.heads else self.weights
        return [
            torch.zeros_like(values) if row is None else _sum(row, numbers, weights)
            for values, row, numbers in zip(self.shared, stacked, tasks, strict=True)
        ]

    def _gramian(self, stacked: Sequence[Tensor | None], tasks: Sequence[Sequence[int]]) -> Tensor:
        like = self.shared[0]
        total = torch.zeros(self.count, self.count, dtype=wide_type(like.dtype), device=like.device)
        for rows, numbers in zip(stacked, tasks, strict=True):
            if rows is not None:
                flat = rows.flatten(1).to(total.dtype)
                if len(numbers) == self.count:
                    total += flat @ flat.T
                else:
                    at = torch.tensor(numbers, device=like.device)
                    total[at[:, None], at] += flat @ flat.T
        return total


class _Gate(torch.autograd.Function):
    """Returns `unit`, and for each task a view of the features that it reads."""

    @staticmethod
    def forward(ctx: Any, cut: Cut, *shared: Tensor) -> tuple[Tensor, ...]:
        ctx.cut = cut
        ctx.set_materialize_grads(False)
        unit = torch.ones((), dtype=wide_type(shared[0].dtype), device=shared[0].device)
        return (unit, *(shared[place].view_as(shared[place]) for place, _ in cut._views))

    @staticmethod
    def backward(ctx: Any, unit: Tensor | None, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return (None, *ctx.cut.combined(unit, gradients))


class _Weigh(torch.autograd.Function):
    """Passes losses on, and weighs their gradients once the weights are known."""

    @staticmethod
    def forward(ctx: Any, cut: Cut, tasks: Sequence[int], losses: Tensor) -> Tensor:
        ctx.cut, ctx.tasks = cut, tasks
        return losses.view_as(losses)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights = ctx.cut.weights
        return (
            None,
            None,
            gradient if weights is None else _product(entries_of(weights, ctx.tasks), gradient, torch.mul),
        )


def entries_of(values: Tensor, tasks: Sequence[int]) -> Tensor:
    """Return the entries of these tasks, in the order of their numbers, from a tensor with one for each task."""
    if len(tasks) == len(values):
        return values
    each = values.unbind()  # an index made from a list would wait for the device
    return torch.stack([each[task] for task in tasks]) if tasks else values[:0]


def _sum(rows: Tensor, tasks: Sequence[int], weights: Tensor | None) -> Tensor:
    if weights is None:
        return rows.sum(0) if len(rows) > 1 else rows[0]
    return _product(entries_of(weights, tasks), rows.flatten(1), torch.matmul).view_as(rows[0])


def _product(weights: Tensor, rows: Tensor, multiply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Multiply in at least float32: a weight may be beyond the range of a half-precision gradient, though their product is not."""
    wide = rows.to(wide_type(rows.dtype))
    return multiply(weights.to(wide), wide).to(rows.dtype)


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """Return the data type for sums."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _values(features: Features) -> Tensor:
    return features[0] if isinstance(features, tuple) else features


def _with(features: Features, values: Tensor) -> Features:
    return (values, features[1]) if isinstance(features, tuple) else values
