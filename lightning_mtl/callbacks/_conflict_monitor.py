"""Whether the gradients of tasks conflict."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from .._plain import plain
from ..balancers import GradientBalancer
from ..task import MultiTask
from ._cosine_history import CosineHistory
from ._pair_monitor import PairMonitor
from ._pairs import PairMeans, cosines, magnitude_similarities
from ._probe import without_side_effects

_MOST_UNREAD = 256
"""At most so many Gramians are held before they are read."""


class ConflictMonitor(PairMonitor):
    """Measure for each pair of tasks the cosine of their gradients, how similar their norms are, and how often they conflict.

    A pair conflicts where its cosine is below 0 (Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020, definition 1);
    norms are similar where 2 n_i n_j / (n_i^2 + n_j^2), definition 2, is near 1. Single measurements are noisy: examples of one
    task disagree as much.

    With a gradient balancer it reads the Gramian that each step has anyway, at the representation or of the parameters. Otherwise
    (and where a hierarchy is balanced level by level) it runs the last batch of each source once more, every `every` steps, in
    evaluation mode, for the gradients of each task's loss with respect to the shared parameters, summed over the ranks: so tasks
    are compared that are never in one step. A measurement costs a forward pass of each source and a backward pass of each task, and
    holds a gradient of the shared parameters for each. Training is not changed. Where `every` is longer than an epoch, it also
    measures at the end of each epoch until there is a first result. Batches are not in checkpoints: a resumed run measures on those
    that came since.

    Logged with the training losses are `train/<a>~<b>/cosine` for up to 8 tasks, and over all pairs `train/cosine` and
    `train/conflict_rate`, the share of cosines below 0, of the measurements since the last time.

    Args:
        every: Steps of the optimizer between two measurements. Default: where there is a gradient balancer, its Gramians are read; else 500.

    Raises:
        ValueError: `every` is below 1; or, where batches are run once more, parameters are sharded, or losses are those of
            adapted weights.

    Example:
        >>> from lightning_mtl.callbacks import ConflictMonitor
        >>> monitor = ConflictMonitor(every=100)  # L.Trainer(callbacks=[monitor]); afterwards monitor.record()
    """

    def __init__(self, every: int | None = None) -> None:
        super().__init__(500 if every is None else every)
        self._given = every
        self._last_balance: Any = None
        self._trainer: L.Trainer | None = None
        self._unread: list[Any] = []
        """How the steps since the last reading were balanced."""
        self._reads_balancer = False
        self._reset(0)

    @property
    def state_key(self) -> str:
        """Keep the state apart from that of another monitor."""
        return self._generate_state_key(every=self._given)

    def record(self) -> dict[str, Any]:
        """Return means over all measurements: "cosine", "magnitude_similarity" and "conflict_rate"; their numbers, "looks"; and a "history" of cosines."""
        self._read_balancer()
        cosine, similarity, conflict = self._means.mean()
        return {
            "tasks": list(self.names),
            "cosine": plain(cosine.tolist()),
            "magnitude_similarity": plain(similarity.tolist()),
            "conflict_rate": plain(conflict.tolist()),
            "looks": self._means.counts[0].long().tolist(),
            "history": [{"step": step, "cosine": plain(cosine.tolist())} for step, cosine in self._history.entries],
        }

    def values(self) -> dict[str, float]:
        """Return the cosines since the last call, averaged."""
        self._read_balancer()
        recent = self._history.take_recent()
        if recent is None:
            return {}
        of_pairs = recent[:, torch.ones(recent.shape[1:], dtype=torch.bool).triu(1)]
        of_pairs = of_pairs[~of_pairs.isnan()]
        if not len(of_pairs):
            return {}
        rate = (of_pairs < 0).double().mean()
        shown = {"train/cosine": float(of_pairs.mean()), "train/conflict_rate": float(rate)}
        return shown | self._by_pair("cosine", recent.nanmean(0), both=False)

    # Hooks of Lightning

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start from scratch, or resume with the results for the same tasks."""
        super().on_train_start(trainer, pl_module)
        self._trainer, self._reads_balancer = trainer, not self._uses_probe(pl_module)
        self._last_balance = pl_module.balance if self._reads_balancer else None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the Gramian of the step, or keep the batch and measure when it is time."""
        if not self._reads_balancer:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            return
        balance = pl_module.balance
        if balance is not self._last_balance:
            self._last_balance = balance
            self._unread.append(balance)
            if len(self._unread) >= _MOST_UNREAD:
                self._read_balancer()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Read the Gramians; measure if there has been no result before."""
        self._read_balancer()
        super().on_train_epoch_end(trainer, pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the module and the batches."""
        self._read_balancer()
        self._trainer = self._last_balance = None
        super().teardown(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured."""
        self._read_balancer()
        return {
            **super().state_dict(),
            "means": self._means.state_dict(),
            "history": self._history.state_dict(),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore what was measured before.

        Args:
            state: What `state_dict` returned.
        """
        super().restore_state(state)
        self._means.load_state_dict(state["means"])
        self._history.load_state_dict(state["history"])

    # Measurements

    def _uses_probe(self, module: MultiTask) -> bool:
        if self._given is not None or not isinstance(module.balancer, GradientBalancer):
            return True
        # At a level of a hierarchy, tasks are balanced against the gradient from above, not against tasks of other levels.
        return len(module.tasks) < 2 or module.balancer.names != tuple(task.name for task in module.tasks)

    def _sharding_remedy(self) -> str:
        return "Use strategy='ddp', or a gradient balancer with scope='representation', whose Gramians are read if `every` is left out."

    def _reset(self, tasks: int) -> None:
        self._means = PairMeans(3, tasks, tasks)
        self._unread, self._history = [], CosineHistory()

    def _measure(self, trainer: L.Trainer, module: MultiTask) -> int:
        with without_side_effects(module):
            found = self._probe.measure(trainer, module)
        gramian = found.rows.gramian().cpu().double()
        absent = found.losses.isnan()
        self._add(gramian.masked_fill(absent | absent[:, None], torch.nan).unsqueeze(0), trainer.global_step)
        return len(found.labelled)

    def _read_balancer(self) -> None:
        """Add the Gramians of the steps since the last reading."""
        unread, self._unread = self._unread, []
        unread = [balance for balance in unread if balance is not None and balance.gramian is not None]
        if unread and self._trainer is not None:
            gramians = torch.stack([self._for_all_tasks(balance) for balance in unread])
            self._add(gramians.double(), self._trainer.global_step)
            self._count += sum(len(balance.tasks) > 1 for balance in unread)

    def _for_all_tasks(self, balance: Any) -> Tensor:
        """Return the Gramian of all tasks, NaN where a task was not in the step."""
        gramian: Tensor = balance.gramian
        if balance.tasks == self.names:
            return gramian
        numbers = torch.tensor([self.names.index(name) for name in balance.tasks], dtype=torch.long)
        filled = torch.full((len(self.names), len(self.names)), torch.nan, dtype=gramian.dtype)
        filled[numbers[:, None], numbers] = gramian
        return filled

    def _add(self, gramians: Tensor, step: int) -> None:
        cosine = cosines(gramians)
        conflict = (cosine < 0).double().where(~cosine.isnan(), torch.nan)
        self._means.add(torch.stack([cosine, magnitude_similarities(gramians), conflict], 1))
        self._history.add(step, cosine)
