"""When the losses of a step are logged, beside the callbacks of a run."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from .._lightning import callbacks_of, checkpoint_reads, insert_callbacks
from ._train_log import TrainLog


class _AtBatchEnd(L.Callback):
    """Has no hook for the parts of a step: Lightning spends some microseconds in each call, also of an empty one."""

    on_train_batch_start = None  # type: ignore[assignment]
    on_before_zero_grad = None  # type: ignore[assignment]
    on_before_backward = None  # type: ignore[assignment]
    on_after_backward = None  # type: ignore[assignment]
    on_before_optimizer_step = None  # type: ignore[assignment]


class LossesFirst(_AtBatchEnd):
    """Publishes the losses of a step, where they are due or a checkpoint is judged by them, before other callbacks read them."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Publish the losses."""
        if _is_due(trainer, pl_module):
            pl_module.train_log.publish(trainer, pl_module)
        elif isinstance(getattr(pl_module, "train_log", None), TrainLog) and checkpoint_reads(trainer, "train/"):
            pl_module.train_log.show(trainer, pl_module)


class LogBeforeCheckpoints(_AtBatchEnd):
    """Logs a step, with the values of other callbacks, before a checkpoint is written: Lightning calls the module's own hook after it."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the step."""
        if _is_due(trainer, pl_module):
            pl_module.train_log.write(trainer, pl_module)


def place_logging(trainer: L.Trainer) -> None:
    """Put logging around the other callbacks of a run, and before those that write checkpoints."""
    callbacks = callbacks_of(trainer)
    remove_logging(trainer)
    insert_callbacks(trainer, [LossesFirst()])
    writing = (i for i, of in enumerate(callbacks) if isinstance(of, Checkpoint))
    callbacks.insert(next(writing, len(callbacks)), LogBeforeCheckpoints())


def remove_logging(trainer: L.Trainer) -> None:
    """Take away what `place_logging` has put there."""
    callbacks = callbacks_of(trainer)
    callbacks[:] = [of for of in callbacks if not isinstance(of, LossesFirst | LogBeforeCheckpoints)]


def _is_due(trainer: L.Trainer, module: Any) -> bool:
    log = getattr(module, "train_log", None)  # a run that broke off leaves the callbacks to the next one
    return isinstance(log, TrainLog) and log.is_due(trainer.global_step)
