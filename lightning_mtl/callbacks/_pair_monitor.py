"""What the monitors of pairs of tasks have in common."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

import lightning as L
from torch import Tensor

from .._distributed import SHARDED
from ._probe import Probe
from ._stateful import Remembering

SHOWN = 8
"""Up to so many tasks each pair is shown by itself."""


@runtime_checkable
class _Module(Protocol):
    """What the monitors ask of the model."""

    tasks: Any
    also_shown: list[Any]
    balancer: Any
    carries_gradients: bool

    def shared(self) -> Any: ...

    def run(self, batch: Any) -> Any: ...


class PairMonitor(Remembering, ABC):
    """Looks at pairs of tasks every so many steps, aside from training.

    Args:
        every: Steps of the optimizer between two looks.

    Raises:
        ValueError: `every` is below 1.
    """

    def __init__(self, every: int) -> None:
        if every < 1:
            raise ValueError(f"`every` must be at least 1, got {every!r}. 500 costs about nothing.")
        self.every = every
        self.names: tuple[str, ...] = ()
        """Names of the tasks."""
        self._probe = Probe()
        self._looked_at = 0
        """The step of the latest look."""
        self._looks = 0

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Give what was seen, as plain data."""

    @abstractmethod
    def values(self) -> dict[str, float]:
        """Give what is new since it was asked the last time, to be shown with the training losses."""

    @abstractmethod
    def _clear(self, tasks: int) -> None:
        """Forget what was seen, and prepare for so many tasks."""

    @abstractmethod
    def _look(self, trainer: L.Trainer, module: Any) -> int:
        """Look once; say how many tasks were there."""

    def _aside(self, module: Any) -> bool:
        """Say whether batches are run once more, aside."""
        return True

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Refuse what cannot be looked at."""
        if stage != "fit":
            return
        kind, strategy = type(self).__name__, type(trainer.strategy).__name__
        if not isinstance(pl_module, _Module):
            raise ValueError(
                f"{kind} must watch a module of several tasks, got {type(pl_module).__name__}. Use a module of lightning_mtl."
            )
        if self._aside(pl_module) and pl_module.carries_gradients:
            raise ValueError(
                f"{kind} must watch losses that are functions of the shared weights, got a {type(pl_module).__name__}, whose are functions of what "
                "is adapted. Leave the callback out."
            )
        if self._aside(pl_module) and (isinstance(trainer.strategy, SHARDED) or "DeepSpeed" in strategy):
            raise ValueError(
                f"{kind} must have whole parameters on each rank, got {strategy}, which cuts them. {self._remedy()}"
            )

    def _remedy(self) -> str:
        return "Use strategy='ddp'."

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Begin, or go on with what a checkpoint has of the same tasks."""
        names = tuple(task.name for task in pl_module.tasks)
        anew = self.begins_anew(trainer)
        if names != self.names or anew:
            self.names, self._looked_at, self._looks = names, 0, 0
            self._clear(len(names))
        self._probe.clear()
        pl_module.also_shown.append(self.values)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the batch, and look when it is time."""
        self._probe.take(batch)
        step = trainer.global_step
        if step % self.every == 0 and step != self._looked_at:
            self._look_now(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Look at the end of an epoch if there was nothing to see before."""
        if not self._looks and self._aside(pl_module) and trainer.global_step != self._looked_at:
            self._look_now(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Say so if there was nothing to see at all."""
        if not self._looks:
            warnings.warn(
                f"{type(self).__name__} found no two tasks with labels and trained weights that they share, so it shows nothing: leave it out, or "
                "train two tasks.",
                stacklevel=1,
            )

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the batches."""
        super().teardown(trainer, pl_module, stage)
        self._probe.clear()

    def state_dict(self) -> dict[str, Any]:
        """Give what was seen."""
        return {"names": list(self.names), "looked_at": self._looked_at, "looks": self._looks}

    def take_back(self, state: dict[str, Any]) -> None:
        """Go on with what was seen before.

        Args:
            state: What `state_dict` gave.
        """
        self.names = tuple(state["names"])
        self._looked_at, self._looks = state["looked_at"], state["looks"]
        self._clear(len(self.names))

    # Looks

    def _look_now(self, trainer: L.Trainer, module: Any) -> None:
        self._looked_at = trainer.global_step
        if len(self.names) > 1 and any(p.requires_grad for p in module.shared().parameters()):
            self._looks += self._look(trainer, module) > 1

    def _shown(self, figure: str, values: Tensor, *, both: bool) -> dict[str, float]:
        """Name a figure of each pair, where tasks are few; of both orders of its tasks, or of one."""
        if len(self.names) > SHOWN:
            return {}
        found = values.tolist()
        return {
            f"train/{one}~{other}/{figure}": found[i][j]
            for i, one in enumerate(self.names)
            for j, other in enumerate(self.names)
            if (i < j or (both and i != j)) and found[i][j] == found[i][j]
        }
