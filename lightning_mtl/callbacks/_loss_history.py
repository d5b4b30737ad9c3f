"""The training losses since they were last shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .._distributed import sum_dtype, sum_over_ranks, world_size


@dataclass
class LossHistory:
    """Keeps each step's task losses on the device, so that a step costs one append, and reading them one transfer.

    Args:
        tasks: Names of all tasks.
        positive: Name of the balancer that needs losses of at least zero, if there is one.
    """

    tasks: tuple[str, ...]
    positive: str | None = None
    _steps: list[int] = field(default_factory=list)
    _present: list[Sequence[int]] = field(default_factory=list)
    _losses: list[Tensor] = field(default_factory=list)

    def append(self, step: int, present: Sequence[int], losses: Tensor) -> None:
        """Add the losses of one step: [present], of the tasks with these numbers."""
        self._steps.append(step)
        self._present.append(present)
        self._losses.append(losses.detach())

    def clear(self) -> None:
        """Remove all steps."""
        self._steps, self._present, self._losses = [], [], []

    def __len__(self) -> int:
        return len(self._steps)

    def read(self) -> tuple[Tensor, Tensor]:
        """Return the losses averaged over the ranks, [steps, tasks], and whether there is each, both on the CPU.

        Raises:
            ValueError: A loss is not finite.
        """
        rows = [row for row, present in enumerate(self._present) for _ in present]
        columns = [column for present in self._present for column in present]
        flat = torch.cat(self._losses)
        flat = flat.to(sum_dtype(flat.device))
        table = torch.zeros(2, len(self), len(self.tasks), dtype=flat.dtype, device=flat.device)
        table[0, rows, columns] = flat / world_size()
        table[1, rows, columns] = 1.0
        losses, there = sum_over_ranks(table).cpu()
        if self.positive is not None:
            self._refuse_negative(losses)
        self._refuse_nonfinite(losses)
        return losses, there > 0

    def _refuse_negative(self, losses: Tensor) -> None:
        bad = (losses < 0).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            raise ValueError(
                f"The loss of task {self.tasks[column]!r} must not be below zero with the balancer {self.positive}, got "
                f"{losses[row, column]} at step {self._steps[row]}. Take another balancer, or a loss that is not below zero."
            )

    def _refuse_nonfinite(self, losses: Tensor) -> None:
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            raise ValueError(
                f"The loss of task {self.tasks[column]!r} must be finite, got {losses[row, column]} at step "
                f"{self._steps[row]}, the first bad one. No checkpoint was written since: resume from the last one with a "
                "lower learning rate, `gradient_clip_val`, or another `loss`."
            )
