"""The cut between the shared part and the heads, where the tasks' gradients meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..encoders import Features
from ._step import Step

Measure = Callable[[Tensor, Tensor], Tensor]
"""From the inner products of all tasks' gradients [K, K] and the scale that they carry to the weights [K]."""


class Cut:
    """The cut of one step: each task reads the shared features through a gate, and its gradient comes back through it.

    As long as no weights are known, the gate adds up what comes back; with `measure`, it asks for them when all gradients
    have come. Once they are known it weighs.

    Args:
        count: Number of all tasks.
        measure: Makes weights of the gradients of the features. Default: weights come from elsewhere.
        heads: Whether the heads are weighed too: then the losses are what is weighed, and not the gradients at the gate.
    """

    def __init__(self, count: int, measure: Measure | None = None, *, heads: bool = False) -> None:
        self.count = count
        self.measure = measure
        self.heads = heads
        self.weights: Tensor | None = None
        self.shared: list[Tensor] = []
        """The different features that tasks read."""
        self.unit: Tensor | None = None
        """A one whose gradient is the scale of all gradients of the step."""
        self._views: list[tuple[int, int]] = []

    def gated(self, features: Sequence[Mapping[int, Features]]) -> list[dict[int, Features]]:
        """Lead the features of every source through one gate.

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
        made = iter(views)
        return [{task: _with(of, next(made)) for task, of in source.items()} for source in features]

    def checked_unit(self, step: Step) -> Tensor:
        """Return the cut's one, once the features of a step have been led through it.

        Raises:
            ValueError: They have not, or the encoder gives each task features of its own.
        """
        if self.unit is None:
            raise ValueError(
                "`run` must lead the features through `self.cut` where there is one, got a step that did not. Call super().run(batch), "
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
        """Lead the losses of these tasks through a gate of their own, where the heads are weighed too."""
        return _Weigh.apply(self, tasks, losses) if self.heads else losses  # type: ignore[no-untyped-call]

    def weigh(self, weights: Tensor) -> None:
        """Tell the weights of the tasks."""
        self.weights = weights

    def close(self) -> None:
        """Let go of the features, which hold this cut in turn."""
        self.shared, self._views, self.unit, self.measure = [], [], None, None

    def back(self, unit: Tensor | None, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Bring the tasks' gradients of the features together."""
        rows: list[list[Tensor]] = [[] for _ in self.shared]
        tasks: list[list[int]] = [[] for _ in self.shared]
        for (place, task), gradient in zip(self._views, gradients, strict=True):
            if gradient is not None:
                rows[place].append(gradient)
                tasks[place].append(task)
        stacked = [torch.stack(of) if of else None for of in rows]
        if self.weights is None and self.measure is not None:
            assert unit is not None, "the loss must hold the cut's `unit`"
            self.weights = self.measure(self._gramian(stacked, tasks), unit)
        weights = None if self.heads else self.weights
        return [
            torch.zeros_like(values) if of is None else _sum(of, numbers, weights)
            for values, of, numbers in zip(self.shared, stacked, tasks, strict=True)
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
    """Gives each task a view of the features it reads, and a one."""

    @staticmethod
    def forward(ctx: Any, cut: Cut, *shared: Tensor) -> tuple[Tensor, ...]:
        ctx.cut = cut
        ctx.set_materialize_grads(False)
        unit = torch.ones((), dtype=wide_type(shared[0].dtype), device=shared[0].device)
        return (unit, *(shared[place].view_as(shared[place]) for place, _ in cut._views))

    @staticmethod
    def backward(ctx: Any, unit: Tensor | None, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return (None, *ctx.cut.back(unit, gradients))


class _Weigh(torch.autograd.Function):
    """Passes losses on, and weighs their gradients once the weights are known."""

    @staticmethod
    def forward(ctx: Any, cut: Cut, tasks: Sequence[int], losses: Tensor) -> Tensor:
        ctx.cut, ctx.tasks = cut, tasks
        return losses.view_as(losses)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights = ctx.cut.weights
        return None, None, gradient if weights is None else gradient * entries_of(weights, ctx.tasks).to(gradient)


def entries_of(values: Tensor, tasks: Sequence[int]) -> Tensor:
    """Pick the entries of these tasks, in the order of their numbers, out of one for each task."""
    if len(tasks) == len(values):
        return values
    each = values.unbind()  # an index made of numbers would wait for the device
    return torch.stack([each[task] for task in tasks]) if tasks else values[:0]


def _sum(rows: Tensor, tasks: Sequence[int], weights: Tensor | None) -> Tensor:
    if weights is None:
        return rows.sum(0) if len(rows) > 1 else rows[0]
    return (entries_of(weights, tasks).to(rows) @ rows.flatten(1)).view_as(rows[0])


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """Name the type to sum up in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _values(features: Features) -> Tensor:
    return features[0] if isinstance(features, tuple) else features


def _with(features: Features, values: Tensor) -> Features:
    return (values, features[1]) if isinstance(features, tuple) else values
