"""Gradients of all tasks, a row for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._cut import wide_type


class Rows:
    """The gradients of all tasks of the shared parameters, a row for each task.

    Args:
        parameters: The shared parameters.
        count: Number of all tasks.
        like: A tensor of their type and device.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], count: int, like: Tensor) -> None:
        self.parameters = list(parameters)
        sizes = [p.numel() for p in parameters]
        self.values = torch.zeros(count, sum(sizes), dtype=like.dtype, device=like.device)
        self._views = [
            [part.view_as(p) for part, p in zip(row.split(sizes), parameters, strict=True)] for row in self.values
        ]
        self._sizes = sizes
        self.filled: set[int] = set()

    def add(self, task: int, gradients: Sequence[Tensor | None]) -> None:
        """Add the gradients of one task's loss; a task's first ones replace what an earlier step left."""
        pairs = list(zip(self._views[task], gradients, strict=True))
        known = [(view, gradient) for view, gradient in pairs if gradient is not None]
        if task in self.filled:
            _foreach(torch._foreach_add_, known)
            return
        _foreach(torch._foreach_copy_, known)
        for view, gradient in pairs:
            if gradient is None:
                view.zero_()
        self.filled.add(task)

    def of(self, task: int) -> list[Tensor]:
        """Return the gradients of one task: one for each parameter."""
        return list(self._views[task])

    def clear_others(self) -> None:
        """Set the rows of tasks without a loss to zero."""
        for task in range(len(self.values)):
            if task not in self.filled:
                self.values[task].zero_()

    def gramian(self) -> Tensor:
        """Return the inner products of all rows."""
        values = self.values.to(wide_type(self.values.dtype))
        return values @ values.T

    def sum(self, weights: Tensor) -> list[Tensor]:
        """Return the weighed sum of the rows: a gradient for each parameter."""
        flat = weights.to(self.values) @ self.values
        return [part.view_as(p) for part, p in zip(torch.split(flat, self._sizes), self.parameters, strict=True)]


def gradients_of(
    losses: Sequence[Tensor], scales: Tensor, parameters: Sequence[Sequence[Tensor]], keep: Sequence[bool]
) -> Iterator[tuple[Tensor | None, ...]]:
    """Compute the gradients of each loss by itself, one after the other.

    Args:
        losses: Losses with their graph.
        scales: The factor of each loss, [losses].
        parameters: For each loss the tensors to differentiate by.
        keep: For each loss whether its graph is needed afterwards.
    """
    for loss, scale, wanted, kept in zip(losses, scales.unbind(), parameters, keep, strict=True):
        yield torch.autograd.grad(loss, wanted, scale, retain_graph=kept, allow_unused=True)


def pieces(parameters: Sequence[nn.Parameter], limit: float) -> list[list[nn.Parameter]]:
    """Split parameters into lists of at most this many numbers; a larger parameter is a list of its own."""
    lists: list[list[nn.Parameter]] = []
    size = 0
    for p in parameters:
        if not lists or size + p.numel() > limit:
            lists.append([])
            size = 0
        lists[-1].append(p)
        size += p.numel()
    return lists


def _foreach(act: Callable[..., Any], pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    if pairs:
        act([view for view, _ in pairs], [gradient for _, gradient in pairs])
