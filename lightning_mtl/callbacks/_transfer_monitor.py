"""Whether a step for one task helps another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from .._plain import plain
from ._pair_monitor import PairMonitor
from ._pairs import PairMeans
from ._probe import Look, aside, moved
from ._task_groups import task_groups
from ._updates import steps, unknown


class TransferMonitor(PairMonitor):
    """Measure how much an update for one task lowers the loss of each other, and which tasks belong together (TAG; Fifty et al., NeurIPS 2021).

    The affinity Z of task i to task j is 1 - L_j(after) / L_j(before), equation 1, where the shared parameters made the step that the optimizer would
    make for task i alone: positive helps. Every `every` steps it is measured on the last batch of each source, in evaluation mode, and averaged over
    training; a look costs some four steps for four tasks that read one source, and holds a gradient of the shared parameters for each task. The
    parameters are the very same afterwards; nothing of training changes. Where `every` is longer than an epoch, there is a look at its end until one
    has shown something. Batches are not in checkpoints: a resumed run looks at those that came since.

    The step is that of the optimizer for the gradient times `Task.weight`: with the rate of each parameter's group, and scaled by what the optimizer
    keeps of gradients (Adam and its kin, RMSprop, Adagrad, Adadelta), to which this one is added as in a step: the raw gradient times a rate for Adam
    would vanish in rounding. Momentum, weight decay, rectification (RAdam) and balancers' weights are left out: they are of all tasks together. Of
    other optimizers a step of plain gradient descent is taken, with a warning. Under a rate that warms up from 0, nothing moves.

    A change is relative to |L_j|, so that its sign means the same where losses are below zero; a look at a task whose loss is exactly zero is left
    out. Losses and gradients are those of all ranks. Shown with the training losses is `train/<a>~<b>/affinity` for up to 8 tasks, what a
    does to b, averaged so far.

    Args:
        every: Steps of the optimizer between two looks.
        groups: For which numbers of groups `record` parts the tasks. Default: 2 to all but one.

    Raises:
        ValueError: `every` or one of `groups` is below 1; parameters are cut over the ranks; or losses are those of adapted weights.

    Example:
        >>> from lightning_mtl.callbacks import TransferMonitor
        >>> monitor = TransferMonitor(every=100)  # L.Trainer(callbacks=[monitor]); afterwards monitor.grouping(2)
    """

    def __init__(self, every: int = 500, groups: Sequence[int] | None = None) -> None:
        super().__init__(every)
        if groups is not None and any(count < 1 for count in groups):
            raise ValueError(f"`groups` must be numbers of at least 1, got {groups!r}. Leave it out for all.")
        self.groups = groups
        self._told = 0
        self._clear(0)

    @property
    def state_key(self) -> str:
        """Keep the state apart from that of another monitor."""
        return self._generate_state_key(every=self.every)

    def record(self) -> dict[str, Any]:
        """Give "affinity" (row i: what the update of task i does) its standard "error" and number of "looks", the number of "probes", and "groups" by their number."""
        count = len(self.names)
        wanted = range(2, count) if self.groups is None else [of for of in self.groups if of <= count]
        return {
            "tasks": list(self.names),
            "affinity": plain(self._affinity.mean().tolist()),
            "error": plain(self._affinity.error().tolist()),
            "looks": self._affinity.counts.long().tolist(),
            "probes": self._looks,
            "groups": {str(of): self.grouping(of) for of in wanted} if self._looks else {},
        }

    def grouping(self, groups: int) -> list[list[str]]:
        """Part the tasks so that each gets the most help, on average, from the others of its group.

        Args:
            groups: Number of groups.

        Raises:
            ValueError: There are fewer tasks than groups, or no group.
        """
        parts = task_groups(self._affinity.mean(), groups)
        return [[self.names[task] for task in part] for part in parts]

    def values(self) -> dict[str, float]:
        """Give the affinities, averaged over all looks, where there was a new one."""
        if self._told == self._looks:
            return {}
        self._told = self._looks
        return self._shown("affinity", self._affinity.mean(), both=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Begin, or go on; say of which optimizers the steps are not known."""
        super().on_train_start(trainer, pl_module)
        if names := unknown(trainer.optimizers):
            warnings.warn(
                f"TransferMonitor does not know how {' and '.join(names)} scales gradients, and looks at steps of plain gradient descent at its rate: read "
                "affinities as signs, not as sizes.",
                stacklevel=1,
            )

    def state_dict(self) -> dict[str, Any]:
        """Give what was seen."""
        return {**super().state_dict(), "affinity": self._affinity.state_dict(), "told": self._told}

    def take_back(self, state: dict[str, Any]) -> None:
        """Go on with what was seen before.

        Args:
            state: What `state_dict` gave.
        """
        super().take_back(state)
        self._affinity.load_state_dict(state["affinity"])
        self._told = state["told"]

    # Looks

    def _clear(self, tasks: int) -> None:
        self._affinity = PairMeans(tasks, tasks)
        self._told = 0

    def _look(self, trainer: L.Trainer, module: Any) -> int:
        with aside(module):
            look = self._probe.look(trainer, module)
            there = look.there
            if len(there) > 1:
                after = self._after(trainer, module, look, there)
                self._affinity.add(((look.losses - after) / look.losses.abs()).unsqueeze(0))
        return len(there)

    def _after(self, trainer: L.Trainer, module: Any, look: Look, there: Sequence[int]) -> Tensor:
        """Give the losses of all tasks after a step for each."""
        after = torch.full((len(self.names), len(self.names)), torch.nan, dtype=torch.float64)
        shared = look.rows.parameters
        for task in there:
            weighted = [module.tasks[task].weight * row for row in look.rows.of(task)]
            with moved(shared, steps(trainer.optimizers, shared, weighted)):
                after[task] = self._probe.losses(trainer, module)
        return after
