"""The gradient of each task, from which the gradient of a step is computed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .._distributed import mean_gradients, sum_over_ranks, world_size
from ._linear import Layer, LinearLayers
from ._parameters import TrainedParameters
from ._rows import Rows, gradients_of


class PerTaskGradients:
    """Holds each task's gradient of the shared parameters, summed up over batches, and sets the gradient of a step.

    It holds one row for each task; for linear layers, where that is cheaper, it holds factors of their rows instead.

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
        """The gradients of the other parameters; by task where they are weighed."""

    def record_layers(self) -> None:
        """Record the linear layers of the forward pass that begins."""
        self._linear.start()

    def clear_records(self) -> None:
        """Stop recording layers, after an error."""
        self._linear.clear()

    def choose_layers(self, tasks: int) -> None:
        """Stop recording, and choose the layers to measure by input and output; `tasks` of them have losses."""
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
        """Return the inner products of the tasks' gradients, averaged over the ranks."""
        assert self._rows is not None
        self._rows.clear_others()
        if world_size() > 1:
            sum_over_ranks(self._rows.values).div_(world_size())
        total = self._rows.gramian()
        for layer in self._layers:
            total += layer.gramian(len(self.own)).to(total)
        return total

    def set_gradients(self, weights: Tensor) -> None:
        """Set the gradient of each parameter: of shared ones the weighed sum, of a task's others its own."""
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
