"""What a callback remembers of the run that a checkpoint is of."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import lightning as L


class Remembering(L.Callback):
    """A callback whose state is taken back by a fit, as training goes on, and only then: Lightning hands it out before a test too."""

    _pending: dict[str, Any] | None = None

    @abstractmethod
    def take_back(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave.

        Args:
            state: The state.
        """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a state until training goes on."""
        self._pending = state_dict

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Take back a state after which there was nothing left to train, so that it is not lost."""
        if self._pending is not None:
            self.begins_anew(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Forget a state that no training took back."""
        super().teardown(trainer, pl_module, stage)
        self._pending = None

    def begins_anew(self, trainer: L.Trainer) -> bool:
        """Take back the state of a checkpoint, if there is one; say whether this is another run than before.

        Args:
            trainer: The Trainer, which starts to train.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            self.take_back(pending)
        return not trainer.ckpt_path and trainer.global_step == 0
