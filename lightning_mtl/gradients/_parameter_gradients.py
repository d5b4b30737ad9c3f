"""Gradients of the shared parameters, task by task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._distributed import sum_dtype
from ._compiled import KeptBuffers, is_compiled
from ._cut import wide_type
from ._measuring import Measuring
from ._parameters import TrainedParameters
from ._pending_losses import PendingLosses
from ._per_task import PerTaskGradients
from ._sketch import Sketch
from ._step_balance import BalancedModule
from ._two_passes import gramian_in_pieces, sketched_gramian


class ParameterGradients:
    """Measures the Gramian of the parameters: from one row for each task, or in a separate backward pass.

    Args:
        count: Number of all tasks.
        measuring: How it is measured.
    """

    def __init__(self, count: int, measuring: Measuring) -> None:
        self.count = count
        self.measuring = measuring
        self.compiled = False
        """Whether a part of the module is compiled."""
        self.window: set[int] = set()
        """The tasks of the batches whose rows wait for the optimizer step."""
        self.batches = 1
        """How many batches make an optimizer step."""
        self._buffers = KeptBuffers()
        self._parameters: TrainedParameters | None = None
        self._known: list[tuple[str, int]] = []
        self._rows: PerTaskGradients | None = None
        self._sketch: Sketch | None = None

    @property
    def rows(self) -> PerTaskGradients:
        """The rows of gradients, once the parameters are known."""
        assert self._rows is not None
        return self._rows

    def find(self, module: BalancedModule) -> None:
        """Find the trained parameters, if they have changed; while gradients are accumulated they stay.

        With other names they have changed too: a layer that is pruned computes its weight from the same parameter.
        """
        if self.window:
            return
        known = [(name, id(p)) for name, p in module.named_parameters() if p.requires_grad]
        if self._parameters is not None and known == self._known:
            return
        self._parameters, self._sketch, self._known = TrainedParameters.of(module), None, known
        self._rows = PerTaskGradients(module.shared(), self._parameters, weight_heads=self.measuring.weight_heads)
        self.compiled = any(map(is_compiled, module.modules()))
        if self.compiled:
            self._buffers.keep()

    def release(self) -> None:
        """Release parameters and gradients, and stop listening to layers."""
        if self._rows is not None:
            self._rows.clear_records()
        self._buffers.restore()
        self._parameters = self._rows = self._sketch = None
        self.window = set()

    def fill(self, loss: Tensor, pending: PendingLosses, present: Sequence[int]) -> None:
        """Add the gradients of a batch to the rows; `present` are its tasks on any rank."""
        torch.autograd.backward(loss)
        scales, unit = pending.stacked.grad, pending.unit.grad
        assert scales is not None
        assert unit is not None
        self._unit = unit
        self.rows.fill(pending.losses, pending.tasks, scales, pending.needs_graph)
        self.window.update(present)

    def gramian_of_rows(self) -> Tensor:
        """Return the inner products of the rows, divided by their scale."""
        gramian = self.rows.gramian()
        return (gramian / (self._unit * self.batches) ** 2).to(gramian.dtype)

    def set_gradients(self, weights: Tensor) -> None:
        """Set the gradient of each parameter, from the weighed rows."""
        self.rows.set_gradients(weights)
        self.window.clear()

    def measure(self, loss: Tensor, pending: PendingLosses) -> Tensor:
        """Measure the Gramian in a separate backward pass, before the ordinary one."""
        assert self._parameters is not None
        scales, unit = _scales(loss, pending)
        measuring, shared = self.measuring, self._parameters.shared
        if measuring.sketch:
            if self._sketch is None:
                self._sketch = Sketch(shared, measuring.sketch, seed=0)
            gramian = sketched_gramian(pending.losses, pending.tasks, scales, self._sketch, self.count)
        else:
            assert measuring.gradient_memory is not None
            gramian = gramian_in_pieces(
                pending.losses, pending.tasks, scales, shared, self.count, measuring.gradient_memory
            )
        return (gramian / unit.to(sum_dtype(unit.device)) ** 2).to(wide_type(shared[0].dtype))


def _scales(loss: Tensor, pending: PendingLosses) -> tuple[Tensor, Tensor]:
    """Return the factor of each loss, and the scale of the step; a rank without labels has the scale alone."""
    if pending.tasks:
        scales, unit = torch.autograd.grad(loss, (pending.stacked, pending.unit), retain_graph=True)
        return scales, unit
    (unit,) = torch.autograd.grad(loss, pending.unit, retain_graph=True)
    return pending.stacked.detach(), unit
