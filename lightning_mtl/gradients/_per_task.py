"""The gradient of each task, of which the gradient of a step is made."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .._distributed import mean_gradients, sum_over_ranks, world_size
from ._linear import Layer, LinearLayers
from ._parameters import TrainedParameters
from ._rows import Rows, gradients_of


class PerTaskGradients:
    """Holds each task's gradient of the shared parameters, summed up over batches, and makes the gradient of a step.

    It is a row for each task; of linear layers it holds, where that is cheaper, what their rows are made of.

    Args:
        shared: The part that tasks share.
        parameters: The parameters that are trained.
        weight_heads: Whether a task's other parameters are weighed too.
    """

    def __init__(self, shared: nn.Module, parameters: TrainedParameters, *, weight_heads: bool) -> None:
        self.shared, self.own, self.every = parameters.shared, parameters.own, parameters.every
        self.weight_heads = weight_heads
        self._linear = LinearLayers(shared)
        self._layers: list[Layer] = []
        self._rows: Rows | None = None
        self._held: dict[tuple[nn.Parameter, int], Tensor] = {}
        """What the other parameters get, by task where it is weighed."""

    def open(self) -> None:
        """Begin a forward pass of which linear layers may be taken apart."""
        self._linear.listen()

    def silence(self) -> None:
        """Listen to no layer any more, after an error."""
        self._linear.silence()

    def close(self, tasks: int) -> None:
        """End it; that many tasks have losses."""
        self._layers = self._linear.stop(tasks)

    def fill(self, losses: Sequence[Tensor], tasks: Sequence[int], scales: Tensor, keep: Sequence[bool]) -> None:
        """Compute the gradients of these losses, each times its scale, and add them to those of earlier batches."""
        self._layers = self._linear.trusted(self._layers, losses, scales)
        apart = {id(p) for layer in self._layers for p in layer.parameters()}
        plain = [p for p in self.shared if id(p) not in apart]
        if self._rows is None or [id(p) for p in self._rows.parameters] != [id(p) for p in plain]:
            self._rows = Rows(plain, len(self.own), self.shared[0])
        outputs = [layer.y for layer in self._layers]
        wanted = [[*plain, *outputs, *self.own[task]] for task in tasks]
        for task, gradients in zip(tasks, gradients_of(losses, scales, wanted, keep), strict=True):
            rest = iter(gradients)
            self._rows.add(task, [next(rest) for _ in plain])
            for layer in self._layers:
                layer.add(task, next(rest))
            self._hold(task, list(rest))

    def _hold(self, task: int, gradients: Sequence[Tensor | None]) -> None:
        for p, gradient in zip(self.own[task], gradients, strict=True):
            if gradient is not None:
                key = (p, task if self.weight_heads else 0)
                held = self._held.get(key)
                self._held[key] = gradient if held is None else held + gradient  # two gradients can be one tensor

    def gramian(self) -> Tensor:
        """Multiply the gradients of all tasks, averaged over the ranks, with each other."""
        assert self._rows is not None
        self._rows.clear_others()
        if world_size() > 1:
            sum_over_ranks(self._rows.values).div_(world_size())
        total = self._rows.gramian()
        for layer in self._layers:
            total += layer.gramian(len(self.own)).to(total)
        return total

    def hand_over(self, weights: Tensor) -> None:
        """Give each parameter its gradient: the shared ones a weighed sum, those of a task its own."""
        assert self._rows is not None
        for (p, task), gradient in self._held.items():
            _add(p, gradient * weights[task].to(gradient) if self.weight_heads else gradient.clone())
        self._held.clear()
        if world_size() > 1:
            mean_gradients(self.every)
        for p, gradient in zip(self._rows.parameters, self._rows.sum(weights), strict=True):
            _add(p, gradient)
        for layer in self._layers:
            for p, gradient in zip(layer.parameters(), layer.sum(weights), strict=True):
                _add(p, gradient)
        self._rows.filled.clear()
        self._layers = []


def _add(parameter: nn.Parameter, gradient: Tensor) -> None:
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad.add_(gradient)
