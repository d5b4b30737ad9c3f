"""What a monitor's own evaluations read."""

from __future__ import annotations

from typing import Any

import lightning as L

from .._distributed import flattens


def validation_probe(trainer: L.Trainer, rows: int | None) -> Any:
    """Return validation batches of a `MultiTaskDataModule`; None where there is no such module or no such split.

    Args:
        trainer: The Trainer.
        rows: Rows of each source. None for all.
    """
    data: Any = getattr(trainer, "datamodule", None)
    return data.probe("validation", rows) if hasattr(data, "probe") else None


def refuse_no_validation(trainer: L.Trainer, probe: Any, *, every: int | None, phases: bool) -> None:
    """Check that ForgettingMonitor has something to evaluate on.

    Args:
        trainer: The Trainer.
        probe: What `validation_probe` returned.
        every: Steps between evaluations by the monitor itself, if there are such.
        phases: Whether the monitor also evaluates at the end of each phase.

    Raises:
        ValueError: There is nothing, or the strategy does not let the monitor evaluate.
    """
    own = every is not None or phases
    if own and flattens(trainer.strategy):
        raise ValueError(
            f"ForgettingMonitor must leave evaluations to the Trainer under {type(trainer.strategy).__name__}, which flattens parameters, got "
            f"every={every}, or phases. Leave it out there, or use 'ddp' or ModelParallelStrategy."
        )
    blind = not own and not trainer.enable_validation
    if blind and probe is not None:
        raise ValueError(
            f"ForgettingMonitor must have validations of the Trainer where `every` is left out, got limit_val_batches={trainer.limit_val_batches}. "
            "Allow some, or give `every`: then it evaluates by itself."
        )
    if blind or (own and probe is None):
        raise ValueError(
            f"ForgettingMonitor must have a split 'validation' of a `MultiTaskDataModule` to evaluate on, got none with every={every}. "
            "Add it to the sources; with loaders of your own leave `every` out and give a validation loader."
        )
