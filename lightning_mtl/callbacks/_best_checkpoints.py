"""Checkpoints of the network as it was best for each task, beside the Trainer's checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from ..writing import put_in_place


def best_folder(trainer: L.Trainer) -> Path | None:
    """Return the folder beside the Trainer's checkpoints; None where it writes none.

    Args:
        trainer: The Trainer.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None
    kept = next((of for of in trainer.checkpoint_callbacks if isinstance(of, ModelCheckpoint)), None)
    return None if kept is None or kept.dirpath is None else Path(kept.dirpath) / "best"


def write_checkpoints(trainer: L.Trainer, paths: Sequence[Path]) -> None:
    """Write the network into each of these checkpoints: once, and then as copies. All ranks must call it together.

    Args:
        trainer: The Trainer.
        paths: The checkpoints; one that is there is replaced when the new one is complete.
    """
    copies = not isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO)  # which may not have written yet
    for i, path in enumerate(paths):
        part = path.with_name(f"{path.name}.part") if copies else path
        if i == 0 or not copies:
            trainer.save_checkpoint(part, weights_only=True)
        elif trainer.is_global_zero:
            _remove(part)
            (shutil.copytree if paths[0].is_dir() else shutil.copyfile)(paths[0], part)
        if copies and trainer.is_global_zero:
            put_in_place(part, path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
