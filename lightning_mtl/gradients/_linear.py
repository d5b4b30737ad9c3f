"""Gramians of linear layers without the gradients of their weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

_TOLERANCE, _HALF_TOLERANCE = 1e-3, 0.03
"""Largest relative difference between a layer's gradient and the one that follows from its input and output."""
_CHECK_EVERY = 100
"""Steps after which layers are checked against their gradients again."""


@dataclass(slots=True)
class Layer:
    """A linear layer in one step: its input, flattened to [rows, in], and its output.

    The gradient of its weight for one task is d^T x, where d is that of its output, [rows, out]. So the inner product of two
    tasks' gradients is the sum of d_k * (x x^T) d_l, which costs rows^2 * out instead of rows * in * out for each task.
    """

    linear: nn.Linear
    x: Tensor
    y: Tensor
    deltas: dict[int, Tensor] = field(default_factory=dict)

    def pays(self, tasks: int) -> bool:
        """Return whether this is cheaper, for this many tasks."""
        rows, (out, into) = len(self.x), self.linear.weight.shape
        gradients = tasks * rows * into * out + tasks**2 * into * out
        return rows**2 * (into + tasks * out) + tasks**2 * rows * out + rows * into * out < gradients

    def parameters(self) -> list[nn.Parameter]:
        """Return its trained parameters: the weight, and the bias if it is trained; pruning changes the order in which a layer holds them."""
        held = self.linear._parameters
        return [p for p in (held["weight"], held.get("bias")) if p is not None and p.requires_grad]

    def add(self, task: int, delta: Tensor | None) -> None:
        """Keep the gradient of the output for one task."""
        if delta is not None:
            self.deltas[task] = delta.flatten(0, -2).to(self.linear.weight.dtype)

    def gramian(self, count: int) -> Tensor:
        """Return the inner products of the gradients of all tasks, [count, count]."""
        total = self.x.new_zeros(count, count)
        if self.deltas:
            inner = self.x @ self.x.T
            if len(self.parameters()) == 2:
                inner += 1
            deltas, tasks = torch.stack(list(self.deltas.values())), list(self.deltas)
            products = deltas.flatten(1) @ (inner @ deltas).flatten(1).T
            total[torch.tensor(tasks)[:, None], torch.tensor(tasks)] = products
        return total

    def sum(self, weights: Tensor) -> list[Tensor]:
        """Return the weighed sum of the tasks' gradients of its parameters."""
        if not self.deltas:
            return [torch.zeros_like(p) for p in self.parameters()]
        each = list(self.deltas.items())
        delta = sum(
            (weights[task].to(row) * row for task, row in each[1:]), weights[each[0][0]].to(each[0][1]) * each[0][1]
        )
        return [delta.T @ self.x, delta.sum(0)][: len(self.parameters())]


class LinearLayers:
    """Records inputs and outputs of the linear layers of a module while it runs."""

    def __init__(self, module: nn.Module) -> None:
        uses = Counter(id(p) for part in module.modules() for p in part.parameters(recurse=False))
        self._layers = [
            part
            for part in module.modules()
            if type(part) is nn.Linear
            and {"weight"} <= set(part._parameters) <= {"weight", "bias"}  # no parametrization computes the weight
            and part.weight.requires_grad
            and all(uses[id(p)] == 1 for p in part.parameters())
        ]
        self._calls: list[tuple[nn.Linear, Tensor, Tensor, int]] = []
        self._handles: list[Any] = []
        self._known: dict[nn.Linear, bool] = {}
        self._steps = 0

    def start(self) -> None:
        """Record inputs and outputs from now on."""
        self.clear()
        self._handles = [layer.register_forward_hook(self._record) for layer in self._layers]

    def _record(self, layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._calls.append((layer, inputs[0] if inputs else output, output, output._version))

    def clear(self) -> None:
        """Stop recording, and forget the records."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._calls = [], []

    def stop(self, tasks: int) -> list[Layer]:
        """Stop recording, and return the layers that ran once and are cheaper so for this many tasks."""
        runs = Counter(id(call[0]) for call in self._calls)
        layers = [
            Layer(layer, x.detach().flatten(0, -2).to(layer.weight.dtype), y)
            for layer, x, y, version in self._calls
            # An output that was changed in place is another tensor for autograd.
            if runs[id(layer)] == 1 and y.requires_grad and x.ndim > 1 and y._version == version
        ]
        self.clear()
        return [layer for layer in layers if layer.pays(tasks)]

    def trusted(self, layers: Sequence[Layer], losses: Sequence[Tensor], scales: Tensor) -> list[Layer]:
        """Return those layers whose gradient follows from input and output: nothing else uses or changes them.

        A layer is checked every so many steps, by the gradient of all losses together.
        """
        self._steps += 1
        if self._steps % _CHECK_EVERY == 0:
            self._known.clear()
        new = [layer for layer in layers if layer.linear not in self._known]
        if new:
            wanted = [*(layer.linear.weight for layer in new), *(layer.y for layer in new)]
            found = torch.autograd.grad(losses, wanted, scales.unbind(), retain_graph=True, allow_unused=True)
            for layer, gradient, delta in zip(new, found[: len(new)], found[len(new) :], strict=True):
                if gradient is None or bool(gradient.isfinite().all()):
                    self._known[layer.linear] = _agree(layer, gradient, delta)
        return [layer for layer in layers if self._known.get(layer.linear)]


def _agree(layer: Layer, gradient: Tensor | None, delta: Tensor | None) -> bool:
    if gradient is None or delta is None:
        return gradient is None and delta is None
    expected = delta.flatten(0, -2).to(layer.x.dtype).T @ layer.x
    tolerance = _HALF_TOLERANCE if layer.y.itemsize < 4 else _TOLERANCE
    return bool((expected - gradient).norm() <= tolerance * gradient.norm())
