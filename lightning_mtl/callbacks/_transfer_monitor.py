"""Whether a step for one task helps the others."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from .._checks import require_numbers
from .._plain import plain
from ..task import MultiTask
from ._optimizer_steps import optimizer_steps, unknown_optimizers
from ._pair_monitor import PairMonitor
from ._pairs import PairMeans
from ._probe import Measurement, temporary_step, without_side_effects
from ._task_groups import task_groups


class TransferMonitor(PairMonitor):
    """Measure how much an update for one task lowers the loss of each other, and which tasks belong together (TAG; Fifty et al., NeurIPS 2021).

    The affinity Z of task i to task j is 1 - L_j(after) / L_j(before), equation 1, after the shared parameters made the step that the optimizer would
    make for task i alone: positive helps. Every `every` steps it is measured on the last batch of each source, in evaluation mode, and averaged over
    training. A measurement costs about four steps for four tasks that read one source, and holds a gradient of the shared parameters for each task.
    The parameters are the same afterwards, and training is not changed. Where `every` is longer than an epoch, it also measures at the end of each
    epoch until there is a first result. Batches are not in checkpoints: a resumed run measures on those that came since.

    The step is that of the optimizer for the gradient times `Task.weight`: with the rate of each parameter's group, and scaled by what the optimizer
    keeps of earlier gradients (Adam and variants of it, RMSprop, Adagrad, Adadelta), to which this one is added as in a step. The unscaled gradient
    times a rate for Adam would vanish in rounding. Momentum, weight decay, rectification (RAdam) and balancers' weights are left out: they belong to
    all tasks together. For other optimizers a step of plain gradient descent is taken, with a warning. Under a rate that warms up from 0, nothing moves.

    A change is relative to |L_j|, so that its sign means the same where losses are below zero; a task whose loss is exactly zero is left out of a
    measurement. Losses and gradients are those of all ranks. Logged with the training losses is `train/<a>~<b>/affinity` for up to 8 tasks: the
    affinity of a to b, averaged so far.

    Args:
        every: Steps of the optimizer between two measurements.
        groups: The numbers of groups for which `record` partitions the tasks. Default: 2 to all but one.

    Raises:
        ValueError: `every` or one of `groups` is below 1; parameters are sharded; or losses are those of adapted weights.

    Example:
        >>> from lightning_mtl.callbacks import TransferMonitor
        >>> monitor = TransferMonitor(every=100)  # L.Trainer(callbacks=[monitor]); afterwards monitor.grouping(2)
    """

    def __init__(self, every: int = 500, groups: Sequence[int] | None = None) -> None:
        super().__init__(every)
        require_numbers("groups", groups, "Leave it out for all.", at_least=1, whole=True, optional=True)
        self.groups = groups
        self._logged = 0
        """How many measurements were logged."""
        self._reset(0)

    @property
    def state_key(self) -> str:
        """Keep the state apart from that of another monitor."""
        return self._generate_state_key(every=self.every)

    def record(self) -> dict[str, Any]:
        """Return "affinity" (row i: of an update for task i), its standard "error" and number of measurements, "looks"; the number of all, "probes"; and "groups" by their number."""
        count = len(self.names)
        wanted = range(2, count) if self.groups is None else [of for of in self.groups if of <= count]
        return {
            "tasks": list(self.names),
            "affinity": plain(self._affinity.mean().tolist()),
            "error": plain(self._affinity.error().tolist()),
            "looks": self._affinity.counts.long().tolist(),
            "probes": self._count,
            "groups": {str(of): self.grouping(of) for of in wanted} if self._count else {},
        }

    def grouping(self, groups: int) -> list[list[str]]:
        """Partition the tasks so that each gets the most help, on average, from the others of its group.

        Args:
            groups: Number of groups.

        Raises:
            ValueError: There are fewer tasks than groups, or no group.
        """
        parts = task_groups(self._affinity.mean(), groups)
        return [[self.names[task] for task in part] for part in parts]

    def values(self) -> dict[str, float]:
        """Return the affinities, averaged over all measurements, where there was a new one."""
        if self._logged == self._count:
            return {}
        self._logged = self._count
        return self._by_pair("affinity", self._affinity.mean(), both=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start from scratch, or resume; warn of optimizers whose steps are not known."""
        super().on_train_start(trainer, pl_module)
        if names := unknown_optimizers(trainer.optimizers):
            warnings.warn(
                f"TransferMonitor does not know how {' and '.join(names)} scales gradients, and takes steps of plain gradient descent at its rate: read "
                "affinities as signs, not as sizes.",
                stacklevel=1,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured."""
        return {**super().state_dict(), "affinity": self._affinity.state_dict(), "told": self._logged}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore what was measured before.

        Args:
            state: What `state_dict` returned.
        """
        super().restore_state(state)
        self._affinity.load_state_dict(state["affinity"])
        self._logged = state["told"]

    # Measurements

    def _reset(self, tasks: int) -> None:
        self._affinity = PairMeans(tasks, tasks)
        self._logged = 0

    def _measure(self, trainer: L.Trainer, module: MultiTask) -> int:
        with without_side_effects(module):
            before = self._probe.measure(trainer, module)
            if len(before.labelled) > 1:
                after = self._losses_after_steps(trainer, module, before)
                self._affinity.add(((before.losses - after) / before.losses.abs()).unsqueeze(0))
        return len(before.labelled)

    def _losses_after_steps(self, trainer: L.Trainer, module: MultiTask, before: Measurement) -> Tensor:
        """Return the losses of all tasks (columns) after a step for each (rows)."""
        after = torch.full((len(self.names), len(self.names)), torch.nan, dtype=torch.float64)
        shared = before.rows.parameters
        for task in before.labelled:
            weighted = [module.tasks[task].weight * row for row in before.rows.of(task)]
            with temporary_step(shared, optimizer_steps(trainer.optimizers, shared, weighted)):
                after[task] = self._probe.losses(trainer, module)
        return after
