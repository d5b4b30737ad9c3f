"""What monitors of pairs of tasks have in common."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any

import lightning as L
from torch import Tensor

from .._checks import require_number
from .._distributed import SHARDED
from .._plain import escaped
from ..task import MultiTask, is_multi_task
from ._probe import Probe
from ._stateful import StatefulCallback

_MOST_TASKS = 8
"""Up to so many tasks each pair is logged by itself."""


class PairMonitor(StatefulCallback, ABC):
    """The base of monitors that measure pairs of tasks every `every` steps, without any effect on training.

    Args:
        every: Steps of the optimizer between two measurements.

    Raises:
        ValueError: `every` is below 1.
    """

    def __init__(self, every: int) -> None:
        require_number("every", every, "500 costs about nothing.", at_least=1, whole=True)
        self.every = every
        self.names: tuple[str, ...] = ()
        """Names of the tasks."""
        self._probe = Probe()
        self._measured_at = 0
        """The step of the latest measurement."""
        self._count = 0
        """How many measurements had at least two tasks."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return the results as plain data."""

    @abstractmethod
    def values(self) -> dict[str, float]:
        """Return what is new since the last call, to be logged with the training losses."""

    @abstractmethod
    def _reset(self, tasks: int) -> None:
        """Remove all results, and prepare for so many tasks."""

    @abstractmethod
    def _measure(self, trainer: L.Trainer, module: MultiTask) -> int:
        """Measure once, and return how many tasks had labels."""

    def _uses_probe(self, module: MultiTask) -> bool:
        """Return whether batches are run once more for measurements."""
        return True

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Check that the model and the strategy can be measured."""
        if stage != "fit":
            return
        kind, strategy = type(self).__name__, type(trainer.strategy).__name__
        if not is_multi_task(pl_module):
            raise ValueError(
                f"{kind} must watch a module of several tasks, got {type(pl_module).__name__}. Use a module of lightning_mtl."
            )
        if self._uses_probe(pl_module) and pl_module.carries_gradients:
            raise ValueError(
                f"{kind} must watch losses that are functions of the shared weights, got a {type(pl_module).__name__}, whose are functions of what "
                "is adapted. Leave the callback out."
            )
        if self._uses_probe(pl_module) and (isinstance(trainer.strategy, SHARDED) or "DeepSpeed" in strategy):
            raise ValueError(
                f"{kind} must have whole parameters on each rank, got {strategy}, which shards them. {self._sharding_remedy()}"
            )

    def _sharding_remedy(self) -> str:
        return "Use strategy='ddp'."

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start from scratch, or resume with the results for the same tasks."""
        names = tuple(task.name for task in pl_module.tasks)
        new_run = self.starts_new_run(trainer)
        if names != self.names or new_run:
            self.names, self._measured_at, self._count = names, 0, 0
            self._reset(len(names))
        self._probe.clear()
        pl_module.train_log.extra_values.append(self.values)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the batch, and measure when it is time."""
        self._probe.keep(batch)
        step = trainer.global_step
        if step % self.every == 0 and step != self._measured_at:
            self._measure_now(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Measure at the end of an epoch if there has been no result before."""
        if not self._count and self._uses_probe(pl_module) and trainer.global_step != self._measured_at:
            self._measure_now(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Warn if there was no result at all."""
        if not self._count:
            warnings.warn(
                f"{type(self).__name__} found no two tasks with labels and trained weights that they share, so it shows nothing: leave it out, or "
                "train two tasks.",
                stacklevel=1,
            )

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the batches."""
        super().teardown(trainer, pl_module, stage)
        self._probe.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the names of the tasks, and what was measured."""
        return {"names": list(self.names), "looked_at": self._measured_at, "looks": self._count}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore what was measured before.

        Args:
            state: What `state_dict` returned.
        """
        self.names = tuple(state["names"])
        self._measured_at, self._count = state["looked_at"], state["looks"]
        self._reset(len(self.names))

    # Measurements

    def _measure_now(self, trainer: L.Trainer, module: MultiTask) -> None:
        self._measured_at = trainer.global_step
        if len(self.names) > 1 and any(p.requires_grad for p in module.shared().parameters()):
            self._count += self._measure(trainer, module) > 1

    def _by_pair(self, quantity: str, values: Tensor, *, both: bool) -> dict[str, float]:
        """Return a quantity of each pair by its name in the log, where tasks are few; for both orders of its tasks, or for one."""
        if len(self.names) > _MOST_TASKS:
            return {}
        found = values.tolist()
        return {
            f"train/{escaped(one)}~{escaped(other)}/{quantity}": found[i][j]
            for i, one in enumerate(self.names)
            for j, other in enumerate(self.names)
            if (i < j or (both and i != j)) and found[i][j] == found[i][j]
        }
