"""Checkpoints of the network as it was best for each task, beside the Trainer's checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO


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
        paths: The checkpoints; one that is there is replaced.
    """
    copies = not isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO)  # which may not have written yet
    for i, path in enumerate(paths):
        if i == 0 or not copies:
            if path.is_dir() and trainer.is_global_zero:
                shutil.rmtree(path)  # a sharded checkpoint is a folder
            trainer.save_checkpoint(path, weights_only=True)
        elif trainer.is_global_zero:
            _copy(paths[0], path)


def _copy(made: Path, path: Path) -> None:
    """Copy a checkpoint, which may be a folder; one that was there is replaced when the copy is complete."""
    part = path.with_name(f"{path.name}.part")
    _remove(part)
    (shutil.copytree if made.is_dir() else shutil.copyfile)(made, part)
    if path.is_dir() or made.is_dir():
        _remove(path)
    part.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
