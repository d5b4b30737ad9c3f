"""Figures for the loggers of a Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger


def log_figures(loggers: Sequence[Any], files: Sequence[Path], step: int) -> None:
    """Log figures with those loggers that take images: `WandbLogger` and `TensorBoardLogger`.

    Args:
        loggers: The loggers of a Trainer; others get nothing.
        files: The figures as PNG; each is named after its file.
        step: The step of the figures.
    """
    for logger in loggers:
        for file in files:
            if isinstance(logger, WandbLogger):
                logger.log_image(key=f"report/{file.stem}", images=[str(file)], step=step)
            elif isinstance(logger, TensorBoardLogger):
                image = matplotlib.image.imread(file)[..., :3]
                logger.experiment.add_image(f"report/{file.stem}", image, step, dataformats="HWC")
