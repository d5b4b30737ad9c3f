"""Callbacks whose state belongs to a training run."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import lightning as L


class StatefulCallback(L.Callback):
    """The base of callbacks whose state is restored when training resumes, and only then: Lightning loads it before a test too."""

    _pending: dict[str, Any] | None = None

    @abstractmethod
    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state.
        """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a state until training resumes."""
        self._pending = state_dict

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Restore the state of a run that had nothing left to train, so that it is not lost."""
        if self._pending is not None:
            self.starts_new_run(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Forget a state that no training has restored."""
        super().teardown(trainer, pl_module, stage)
        self._pending = None

    def starts_new_run(self, trainer: L.Trainer) -> bool:
        """Restore the state of a checkpoint, if there is one, and return whether this is a new run: what was noted before is then of another.

        Args:
            trainer: The Trainer, which starts to train.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            self.restore_state(pending)
        return not trainer.ckpt_path and trainer.global_step == 0
