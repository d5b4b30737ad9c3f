"""Gramians of linear layers without the gradients of their weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

_AGREES, _AGREES_IN_HALF = 1e-3, 0.03
"""How far a layer's gradient may be from what its input and output say, as a share of it."""
_LOOK_AGAIN = 100
"""After so many steps layers are held against their gradients anew."""


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
        """Say whether it is cheaper so, for this many tasks."""
        rows, (out, into) = len(self.x), self.linear.weight.shape
        gradients = tasks * rows * into * out + tasks**2 * into * out
        return rows**2 * (into + tasks * out) + tasks**2 * rows * out + rows * into * out < gradients

    def parameters(self) -> list[nn.Parameter]:
        """Give its weight, and its bias where that is trained."""
        return [p for p in self.linear.parameters() if p.requires_grad]

    def add(self, task: int, delta: Tensor | None) -> None:
        """Note the gradient of the output for one task."""
        if delta is not None:
            self.deltas[task] = delta.flatten(0, -2).to(self.linear.weight.dtype)

    def gramian(self, count: int) -> Tensor:
        """Multiply the gradients of all tasks with each other: [count, count]."""
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
        """Weigh and add up the tasks' gradients of its parameters."""
        if not self.deltas:
            return [torch.zeros_like(p) for p in self.parameters()]
        each = list(self.deltas.items())
        delta = sum(
            (weights[task].to(of) * of for task, of in each[1:]), weights[each[0][0]].to(each[0][1]) * each[0][1]
        )
        return [delta.T @ self.x, delta.sum(0)][: len(self.parameters())]


class LinearLayers:
    """Listens to the linear layers of a module while it runs."""

    def __init__(self, module: nn.Module) -> None:
        uses = Counter(id(p) for part in module.modules() for p in part.parameters(recurse=False))
        self._layers = [
            part
            for part in module.modules()
            if type(part) is nn.Linear
            and {"weight"} <= set(part._parameters) <= {"weight", "bias"}  # nothing else makes the weight
            and part.weight.requires_grad
            and all(uses[id(p)] == 1 for p in part.parameters())
        ]
        self._calls: list[tuple[nn.Linear, Tensor, Tensor, int]] = []
        self._handles: list[Any] = []
        self._known: dict[nn.Linear, bool] = {}
        self._steps = 0

    def listen(self) -> None:
        """Note inputs and outputs from now on."""
        self.silence()
        self._handles = [layer.register_forward_hook(self._hear) for layer in self._layers]

    def _hear(self, layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._calls.append((layer, inputs[0] if inputs else output, output, output._version))

    def silence(self) -> None:
        """Listen no more, and forget what was heard."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._calls = [], []

    def stop(self, tasks: int) -> list[Layer]:
        """Listen no more, and give the layers that were run once and pay for this many tasks."""
        runs = Counter(id(call[0]) for call in self._calls)
        made = [
            Layer(layer, x.detach().flatten(0, -2).to(layer.weight.dtype), y)
            for layer, x, y, version in self._calls
            # An output that was changed in place is another tensor for autograd.
            if runs[id(layer)] == 1 and y.requires_grad and x.ndim > 1 and y._version == version
        ]
        self.silence()
        return [layer for layer in made if layer.pays(tasks)]

    def trusted(self, layers: Sequence[Layer], losses: Sequence[Tensor], scales: Tensor) -> list[Layer]:
        """Give those layers whose gradient is what input and output make of it: nothing else uses or changes them.

        A layer is looked at now and then, by the gradient of all losses together.
        """
        self._steps += 1
        if self._steps % _LOOK_AGAIN == 0:
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
    made = delta.flatten(0, -2).to(layer.x.dtype).T @ layer.x
    near = _AGREES_IN_HALF if layer.y.itemsize < 4 else _AGREES
    return bool((made - gradient).norm() <= near * gradient.norm())
