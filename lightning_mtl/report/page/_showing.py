"""Figures for the loggers of a Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger


def show(loggers: Sequence[Any], files: Sequence[Path], step: int) -> None:
    """Hand figures to those loggers that take images: `WandbLogger` and `TensorBoardLogger`.

    Args:
        loggers: The loggers of a Trainer; others are left alone.
        files: The figures as PNG; each is named after its file.
        step: The step that they are of.
    """
    for logger in loggers:
        for file in files:
            if isinstance(logger, WandbLogger):
                logger.log_image(key=f"report/{file.stem}", images=[str(file)], step=step)
            elif isinstance(logger, TensorBoardLogger):
                image = matplotlib.image.imread(file)[..., :3]
                logger.experiment.add_image(f"report/{file.stem}", image, step, dataformats="HWC")
