"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

from ..writing import whole_file
from ._format import KEY
from ._opening import readable, refuse_foreign


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the place where it belongs, and then moves it there: a full disk leaves the one before.

    Lightning writes it to the folder for temporary files, and copies it where that is on another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: Its content.
            path: Where to.
            storage_options: Not used by Lightning's own checkpoints.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with whole_file(path) as part:
            super().save_checkpoint(checkpoint, part, storage_options)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint, with an error that names the file where it cannot be read.

        Args:
            path: The checkpoint.
            map_location: Where its tensors go.
            weights_only: Whether to refuse code in it.
        """
        with readable(path):
            found = super().load_checkpoint(path, map_location, weights_only)
        refuse_foreign(found, KEY, str(path))
        return found


def write_whole_checkpoints(strategy: Any) -> None:
    """Let a strategy write checkpoints whole or not at all, where it writes them as Lightning does by default."""
    held = strategy.checkpoint_io
    if type(held) is TorchCheckpointIO:
        strategy.checkpoint_io = WholeCheckpointIO()
    elif isinstance(held, AsyncCheckpointIO) and type(held.checkpoint_io) is TorchCheckpointIO:
        held.checkpoint_io = WholeCheckpointIO()
