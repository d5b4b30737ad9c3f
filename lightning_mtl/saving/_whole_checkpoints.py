"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

from ..writing import whole_file


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


def write_whole_checkpoints(strategy: Any) -> None:
    """Let a strategy write checkpoints whole or not at all, where it writes them as Lightning does by default."""
    held = strategy.checkpoint_io
    if type(held) is TorchCheckpointIO:
        strategy.checkpoint_io = WholeCheckpointIO()
    elif isinstance(held, AsyncCheckpointIO) and type(held.checkpoint_io) is TorchCheckpointIO:
        held.checkpoint_io = WholeCheckpointIO()
