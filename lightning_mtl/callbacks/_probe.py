"""Batches that were trained on, run once more for their losses and gradients, without any effect on training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from .._distributed import sum_dtype, sum_over_ranks
from .._random_state import random_state, set_random_state
from ..gradients import Rows, Step, gradients_of, is_compiled, wide_type
from ..task import MultiTask
from ._evaluating import evaluating


@dataclass
class Measurement:
    """The losses and gradients of all tasks, equal on all ranks.

    Args:
        losses: The loss of each task, on the CPU; NaN for a task without labels on any rank.
        rows: The gradient of each with respect to the shared parameters.
    """

    losses: Tensor
    rows: Rows

    @property
    def labelled(self) -> list[int]:
        """The numbers of the tasks that have labels."""
        return [task for task, known in enumerate((~self.losses.isnan()).tolist()) if known]


class Probe:
    """Holds the latest batch of each source, and measures the losses and gradients of all tasks on them.

    It holds the batches whole and by reference, so that keeping one costs nothing.
    """

    def __init__(self) -> None:
        self._latest: dict[str, Any] = {}

    def keep(self, batch: Mapping[str, Any]) -> None:
        """Keep what a batch has of each source; without labels too, since other ranks may have some.

        Args:
            batch: The batch, on the device.
        """
        for source, columns in batch.items():
            if columns is not None:
                self._latest[source] = columns

    def clear(self) -> None:
        """Release the batches."""
        self._latest = {}

    def measure(self, trainer: L.Trainer, module: MultiTask) -> Measurement:
        """Measure losses and gradients of all tasks; all ranks must call it together.

        A rank's loss is a mean over its labelled rows, so the sum over the ranks weights each rank's gradients by these rows.

        Args:
            trainer: The Trainer.
            module: The module, between two steps.
        """
        shared = [p for p in module.shared().parameters() if p.requires_grad]
        like = torch.zeros((), dtype=wide_type(shared[0].dtype), device=shared[0].device)
        rows, sums = Rows(shared, len(module.tasks), like), _zero_sums(module)
        scaler: Any = trainer.scaler
        scale = 1.0 if scaler is None else float(scaler.get_scale())  # else small gradients underflow in half precision
        for step in self._forward_passes(trainer, module):
            scales = torch.full((len(step.losses),), scale, dtype=like.dtype, device=like.device)
            keep = [i + 1 < len(step.losses) for i in range(len(step.losses))]
            each = gradients_of(step.losses, scales, [shared] * len(step.losses), keep)
            for task, gradients in zip(step.tasks, each, strict=True):
                rows.add(task, gradients)
            _add_up(sums, step)
        local = sums[0].clone()
        counts, totals = sum_over_ranks(sums).unbind()
        rows.values.mul_((local / (scale * counts.clamp_min(1))).to(rows.values).unsqueeze(1))
        sum_over_ranks(rows.values)
        return Measurement((totals / counts).cpu().double(), rows)

    @torch.no_grad()
    def losses(self, trainer: L.Trainer, module: MultiTask) -> Tensor:
        """Measure the losses of all tasks without gradients; all ranks must call it together.

        Args:
            trainer: The Trainer.
            module: The module, between two steps.
        """
        sums = _zero_sums(module)
        for step in self._forward_passes(trainer, module):
            _add_up(sums, step)
        counts, totals = sum_over_ranks(sums).unbind()
        return (totals / counts).cpu().double()

    def _forward_passes(self, trainer: L.Trainer, module: MultiTask) -> Iterator[Any]:
        """Run one source after the other, so that one graph is held at a time."""
        for source, columns in self._latest.items():
            with trainer.precision_plugin.train_step_context():
                step = module.run({source: columns})
            yield step


@contextmanager
def without_side_effects(module: Any) -> Iterator[None]:
    """Run what is within in evaluation mode, and leave modes, buffers and random generators as they were.

    Nothing is compiled for it. cuDNN is switched off for recurrent layers: there, their backward pass needs training mode.

    Args:
        module: The module.
    """
    recurrent = any(isinstance(part, nn.RNNBase) for part in module.modules())
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    states = random_state()
    with ExitStack() as stack:
        stack.enter_context(evaluating(module))
        stack.enter_context(torch.enable_grad())
        if recurrent and torch.cuda.is_available():
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if any(map(is_compiled, module.modules())):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            yield
        finally:
            set_random_state(states)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


@contextmanager
def temporary_step(parameters: Sequence[nn.Parameter], steps: Sequence[Tensor]) -> Iterator[None]:
    """Take a step with these parameters; afterwards each has the same tensor as before, bit for bit.

    Args:
        parameters: The parameters.
        steps: What is subtracted from each.
    """
    before = [p.data for p in parameters]
    try:
        for p, step in zip(parameters, steps, strict=True):
            p.data = p.data - step.to(p.dtype)
        yield
    finally:
        for p, values in zip(parameters, before, strict=True):
            p.data = values


def _zero_sums(module: MultiTask) -> Tensor:
    """Return zeros for the numbers of labelled rows and the sums of losses, [2, tasks]."""
    return torch.zeros(2, len(module.tasks), dtype=sum_dtype(module.device), device=module.device)


def _add_up(sums: Tensor, step: Step) -> None:
    for result in step.results:
        count = len(result.target)
        sums[0, result.task] += count
        sums[1, result.task] += count * result.loss.detach()
