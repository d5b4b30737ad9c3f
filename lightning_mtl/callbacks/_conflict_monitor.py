"""Whether the gradients of tasks point apart."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from .._plain import plain
from ..balancers import GradientBalancer
from ._cosine_history import CosineHistory
from ._pair_monitor import PairMonitor
from ._pairs import PairMeans, cosines, magnitude_similarities
from ._probe import aside

_HELD = 256
"""So many Gramians wait to be read at most."""


class ConflictMonitor(PairMonitor):
    """Measure how the gradients of each two tasks lie to each other: their cosine, how alike their norms are, and how often they conflict.

    A pair conflicts where its cosine is below 0 (Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020, definition 1);
    norms are alike where 2 n_i n_j / (n_i^2 + n_j^2), definition 2, is near 1. Single looks are noisy: examples of one task
    disagree as much.

    With a gradient balancer it reads the Gramian that each step has anyhow, at the representation or of the parameters. Else (and where a hierarchy is
    weighed level by level), every
    `every` steps, it runs the last batch of each source once more, in evaluation mode, for the gradients of each task's loss by the shared
    parameters, added up over the ranks: so tasks are compared that never meet in a step. A look costs a forward pass of each source and a
    backward pass of each task, and holds a gradient of the shared parameters for each. Nothing of training changes. Where
    `every` is longer than an epoch, there is a look at its end until one has shown something. Batches are not in checkpoints: a resumed run
    looks at those that came since.

    Shown with the training losses are `train/<a>~<b>/cosine` for up to 8 tasks, and over all pairs `train/cosine` and
    `train/conflict_rate`, the share of cosines below 0, of the looks since the last time.

    Args:
        every: Steps of the optimizer between two looks. Default: where a gradient balancer measures, its Gramians are read; else 500.

    Raises:
        ValueError: `every` is below 1; or, where looks are taken aside, parameters are cut over the ranks, or losses are those of
            adapted weights.

    Example:
        >>> from lightning_mtl.callbacks import ConflictMonitor
        >>> monitor = ConflictMonitor(every=100)  # L.Trainer(callbacks=[monitor]); afterwards monitor.record()
    """

    def __init__(self, every: int | None = None) -> None:
        super().__init__(500 if every is None else every)
        self._given = every
        self._last: Any = None
        self._trainer: L.Trainer | None = None
        self._waiting: list[Any] = []
        """How the steps since the last reading were balanced."""
        self._reads = False
        self._clear(0)

    @property
    def state_key(self) -> str:
        """Keep the state apart from that of another monitor."""
        return self._generate_state_key(every=self._given)

    def record(self) -> dict[str, Any]:
        """Give means over the looks: "cosine", "magnitude_similarity", "conflict_rate", the counts "looks", and a "history" of cosines."""
        self._read()
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
        """Give the cosines of the looks since the last time, averaged."""
        self._read()
        recent = self._history.show()
        if recent is None:
            return {}
        of_pairs = recent[:, torch.ones(recent.shape[1:], dtype=torch.bool).triu(1)]
        of_pairs = of_pairs[~of_pairs.isnan()]
        if not len(of_pairs):
            return {}
        rate = (of_pairs < 0).double().mean()
        shown = {"train/cosine": float(of_pairs.mean()), "train/conflict_rate": float(rate)}
        return shown | self._shown("cosine", recent.nanmean(0), both=False)

    # Hooks of Lightning

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Begin, or go on with what a checkpoint has of the same tasks."""
        super().on_train_start(trainer, pl_module)
        self._trainer, self._reads = trainer, not self._aside(pl_module)
        self._last = pl_module.balance if self._reads else None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the Gramian of the step, or the batch, and look when it is time."""
        if not self._reads:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            return
        balance = pl_module.balance
        if balance is not self._last:
            self._last = balance
            self._waiting.append(balance)
            if len(self._waiting) >= _HELD:
                self._read()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Read what is there; look, if there was nothing to see before."""
        self._read()
        super().on_train_epoch_end(trainer, pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the module and the batches."""
        self._read()
        self._trainer = self._last = None
        super().teardown(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """Give what was seen."""
        self._read()
        return {
            **super().state_dict(),
            "means": self._means.state_dict(),
            "history": self._history.state_dict(),
        }

    def take_back(self, state: dict[str, Any]) -> None:
        """Go on with what was seen before.

        Args:
            state: What `state_dict` gave.
        """
        super().take_back(state)
        self._means.load_state_dict(state["means"])
        self._history.load_state_dict(state["history"])

    # Looks

    def _aside(self, module: Any) -> bool:
        if self._given is not None or not isinstance(module.balancer, GradientBalancer):
            return True
        # At the levels of a hierarchy tasks are weighed against what comes from above, and not against each other.
        return len(module.tasks) < 2 or module.balancer.names != tuple(task.name for task in module.tasks)

    def _remedy(self) -> str:
        return "Use strategy='ddp', or a gradient balancer with scope='representation', whose Gramians are read if `every` is left out."

    def _clear(self, tasks: int) -> None:
        self._means = PairMeans(3, tasks, tasks)
        self._waiting, self._history = [], CosineHistory()

    def _look(self, trainer: L.Trainer, module: Any) -> int:
        with aside(module):
            look = self._probe.look(trainer, module)
        gramian = look.rows.gramian().cpu().double()
        absent = look.losses.isnan()
        self._add(gramian.masked_fill(absent | absent[:, None], torch.nan).unsqueeze(0), trainer.global_step)
        return len(look.there)

    def _read(self) -> None:
        """Look at the Gramians that wait."""
        waiting, self._waiting = self._waiting, []
        waiting = [balance for balance in waiting if balance is not None and balance.gramian is not None]
        if waiting and self._trainer is not None:
            gramians = torch.stack([self._spread(balance) for balance in waiting])
            self._add(gramians.double(), self._trainer.global_step)
            self._looks += sum(len(balance.tasks) > 1 for balance in waiting)

    def _spread(self, balance: Any) -> Tensor:
        """Give the Gramian of all tasks, NaN where some are not there."""
        gramian: Tensor = balance.gramian
        if balance.tasks == self.names:
            return gramian
        places = torch.tensor([self.names.index(name) for name in balance.tasks], dtype=torch.long)
        whole = torch.full((len(self.names), len(self.names)), torch.nan, dtype=gramian.dtype)
        whole[places[:, None], places] = gramian
        return whole

    def _add(self, gramians: Tensor, step: int) -> None:
        cosine = cosines(gramians)
        conflict = (cosine < 0).double().where(~cosine.isnan(), torch.nan)
        self._means.add(torch.stack([cosine, magnitude_similarities(gramians), conflict], 1))
        self._history.add(step, cosine)
