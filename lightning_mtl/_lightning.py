"""The only file that uses private or internal parts of Lightning; `tests/test_lightning.py` has a test for each use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    GradientAccumulationScheduler,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.overrides.distributed import _IndexBatchSamplerWrapper
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader


def trainer_of(module: Any) -> L.Trainer | None:
    """Return the Trainer that a module is attached to; None where the property `trainer` would raise."""
    trainer: L.Trainer | None = module._trainer
    return trainer


def fabric_of(module: Any) -> Any:
    """Return the Fabric that runs a module in a loop of the user's own; None without one."""
    return module._fabric


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """Return the callbacks of a Trainer: the list itself."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def insert_callbacks(trainer: L.Trainer, callbacks: Iterable[L.Callback]) -> None:
    """Put callbacks before those of a Trainer."""
    callbacks_of(trainer)[:0] = callbacks


def fixed_files(trainer: L.Trainer) -> list[str]:
    """Return the logs and checkpoints of a Trainer in a place of their own, where another one would overwrite them.

    Loggers that count versions, and checkpoints that do, are left out.
    """
    logs = [
        of.log_dir
        for of in trainer.loggers
        if isinstance(of, CSVLogger | TensorBoardLogger) and of._version is not None
    ]
    saving = [of for of in callbacks_of(trainer) if isinstance(of, ModelCheckpoint)]
    return [*logs, *(f"{of.dirpath}/{of.filename}" for of in saving if of.dirpath and not of._enable_version_counter)]


def steps_next(trainer: L.Trainer) -> bool:
    """Return whether the optimizer steps after the running batch, and gradients are not accumulated further."""
    return trainer.accumulate_grad_batches == 1 or not trainer.fit_loop._should_accumulate()


def connect_ranks(strategy: Any) -> None:
    """Connect the ranks before the first run, where something else than Lightning has started their processes."""
    environment = getattr(strategy, "cluster_environment", None)
    if environment is not None and environment.creates_processes_externally:
        strategy.setup_environment()


def accumulation_of(trainer: L.Trainer) -> int:
    """Return the largest number of batches of an optimizer step in a run, which a schedule may change by epoch."""
    schedules = [of.scheduling for of in callbacks_of(trainer) if isinstance(of, GradientAccumulationScheduler)]
    return max([trainer.accumulate_grad_batches, *(size for of in schedules for size in of.values())])


def skips_backward(trainer: L.Trainer) -> bool:
    """Return whether batches are only run, as in the last pass of `StochasticWeightAveraging` for batch norms."""
    return bool(trainer.fit_loop._skip_backward)


def scored_copy(trainer: L.Trainer) -> Any:
    """Return the copy of the module with averaged weights, which Lightning puts into the module for each validation of a fit; None without one."""
    averages = [of._average_model for of in callbacks_of(trainer) if isinstance(of, WeightAveraging)]
    fits = trainer.state.fn == TrainerFn.FITTING and trainer.state.stage is not None
    return next((of.module for of in averages if of is not None and fits), None)


def averaged_copies(trainer: L.Trainer) -> list[Any]:
    """Return the copies of the module whose averaged weights become those of the module when training ends."""
    stochastic = [of._average_model for of in callbacks_of(trainer) if isinstance(of, StochasticWeightAveraging)]
    return [of for of in (scored_copy(trainer), *stochastic) if of is not None]


@contextmanager
def scored_weights(trainer: L.Trainer, module: Any) -> Iterator[None]:
    """Put the weights into a module that are in it in a validation: where they are averaged, the averages."""
    used = [of for of in callbacks_of(trainer) if isinstance(of, WeightAveraging)] if scored_copy(trainer) else []
    for of in used[:1]:
        of._swap_models(module)
    try:
        yield
    finally:
        for of in used[:1]:
            of._swap_models(module)


def save_scored_weights(trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
    """Let a checkpoint of weights alone hold averaged or pruned weights, as a whole checkpoint does: for it no callback is asked."""
    if "callbacks" in checkpoint or trainer.state.fn != TrainerFn.FITTING:
        return
    for pruning in (of for of in callbacks_of(trainer) if isinstance(of, ModelPruning)):
        pruning.on_save_checkpoint(trainer, module, checkpoint)
    if (averaged := scored_copy(trainer)) is not None:
        checkpoint["state_dict"] = averaged.state_dict()


def uncompile_training(module: Any) -> bool:
    """Let a module whose steps `torch.compile` has compiled train without; return whether they were compiled."""
    if module._compiler_ctx is not None:
        module.training_step = module._compiler_ctx["original_training_step"]
    return module._compiler_ctx is not None


def has_static_graph(strategy: Any) -> bool:
    """Return whether DDP was told that all steps have one graph."""
    return isinstance(strategy, DDPStrategy) and bool(strategy._ddp_kwargs.get("static_graph"))


def expect_unused_parameters(strategy: DDPStrategy) -> bool:
    """Let DDP expect parameters without gradients, unless the option is set; return whether it does."""
    return bool(strategy._ddp_kwargs.setdefault("find_unused_parameters", True))


def synchronize_gradients(strategy: Any, on: bool) -> None:
    """Choose whether DDP averages gradients over the ranks in the next backward pass; other strategies stay as they are."""
    if isinstance(strategy, DDPStrategy):
        ddp: Any = strategy.model
        ddp.require_backward_grad_sync = on


def publish(trainer: L.Trainer, values: Mapping[str, float], progress_bar: Iterable[str]) -> None:
    """Pass values to callbacks, loggers' metrics and the progress bar, at a fraction of the cost of `self.log`."""
    tensors = {name: torch.tensor(value) for name, value in values.items()}
    trainer.callback_metrics.update(tensors)
    trainer.logged_metrics.update(tensors)
    trainer.progress_bar_metrics.update({name: values[name] for name in progress_bar})


def retract(trainer: L.Trainer, names: Iterable[str]) -> None:
    """Take back values of earlier epochs: Lightning keeps them."""
    for values in (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics):
        for name in names:
            values.pop(name, None)


def sources_of_run(trainer: L.Trainer) -> Any:
    """Return the sources of the data module of a run; None where its data come otherwise."""
    return getattr(getattr(trainer, "datamodule", None), "sources", None)


def sampler_of_data(trainer: L.Trainer) -> Any:
    """Return the sampler of the data module of a run; None where it has none."""
    return getattr(getattr(trainer, "datamodule", None), "sampler", None)


def label_on_cpu(module: L.LightningModule, label: Callable[[Any, int], Any]) -> None:
    """Let batches be labelled before they go to a device, unless the module has a hook of its own there."""
    if type(module).on_before_batch_transfer is L.LightningModule.on_before_batch_transfer:
        vars(module)["on_before_batch_transfer"] = label


def placed(module: Any, batch: Any) -> Any:
    """Return a batch as the Trainer would hand it to a step: in its precision, on its device."""
    trainer = module.trainer
    given = module._on_before_batch_transfer(trainer.precision_plugin.convert_input(batch))
    return trainer.strategy.batch_to_device(given)


def checkpoint_reads(trainer: L.Trainer, prefix: str) -> bool:
    """Return whether a checkpoint of this step is judged by a value whose name begins so."""
    step = trainer.global_step
    saving = [of for of in callbacks_of(trainer) if isinstance(of, ModelCheckpoint) and of._every_n_train_steps >= 1]
    return any(str(of.monitor).startswith(prefix) and step % of._every_n_train_steps == 0 for of in saving)


def batches_done(trainer: L.Trainer) -> int:
    """Return how many training batches are over, since training began: a batch that an exception breaks off is not."""
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    done: int = total.processed
    return done


def make_due_loader(trainer: L.Trainer) -> None:
    """Make a training loader that is due now: in some resumed runs Lightning makes it later, where no hook tells callbacks."""
    trainer.fit_loop.setup_data()


def run_missed_validation(trainer: L.Trainer) -> bool:
    """Validate at the start of a resumed run where that was due when its checkpoint was written, and return whether it was.

    A checkpoint of the end of a training batch is written before the validation that is due there, and Lightning leaves it out. For
    the time of the validation the counters are those of the unbroken run, so that what is written in it can be resumed too.
    """
    fit, epoch = trainer.fit_loop, trainer.fit_loop.epoch_loop
    if not epoch.restarted_on_train_batch_end or fit._data_fetcher is None:
        return False
    moved = fit.restarted_mid_epoch and epoch.batch_progress.is_last_batch  # then Lightning has begun the next epoch
    counters = [epoch.batch_progress.current, epoch.batch_progress.total]
    epochs: list[Any] = [fit.epoch_progress.current, fit.epoch_progress.total] if moved else []
    for counter in counters:
        counter.completed += 1
    for counter in epochs:
        counter.processed, counter.completed = counter.processed - 1, counter.completed - 1
    due = epoch._should_check_val_fx(fit._data_fetcher) and trainer.enable_validation
    if due:
        first = trainer._logger_connector._first_loop_iter
        trainer.validating, epoch.val_loop.restarting = True, False
        epoch.val_loop.run()
        trainer.training, trainer._logger_connector._first_loop_iter = True, first
        epoch.update_lr_schedulers("step", update_plateau_schedulers=True)
    for counter in epochs:
        counter.processed, counter.completed = counter.processed + 1, counter.completed + 1
    for counter in counters:
        counter.completed -= 1
    return due


def shorten(trainer: L.Trainer, epochs: int | None = None, steps: int | None = None) -> None:
    """Let a Trainer that was made end earlier."""
    if epochs is not None:
        trainer.fit_loop.max_epochs = epochs
    if steps is not None:
        trainer.fit_loop.epoch_loop.max_steps = steps


def hide_val_dataloader(data: L.LightningDataModule, hide: bool) -> None:
    """Hide or restore `val_dataloader` of a data module: Lightning skips validation only where there is none."""
    vars(data).pop("val_dataloader", None)
    if hide:
        vars(data)["val_dataloader"] = L.LightningDataModule.val_dataloader.__get__(data)


class WorkersOfLoader:
    """The base of loaders around a `DataLoader`, whose workers Lightning ends when a run is over."""

    _loader: DataLoader[Any]

    @property
    def _iterator(self) -> Any:
        """What Lightning looks for."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator


class PlannedRows(_IndexBatchSamplerWrapper):
    """The plans of a loader, where Lightning finds the numbers of the rows of each batch for a `BasePredictionWriter`.

    Of one source they are a list, of several {source: list}. Plans are kept from when they are drawn until shortly after their batch was delivered.
    """

    def __init__(self, plans: Any, sources: Sequence[str]) -> None:
        self.plans, self.sources = plans, list(sources)
        self._drawn: deque[Mapping[str, list[int]]] = deque()
        self._forgotten = self._delivered = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._drawn, self._forgotten, self._delivered = deque(), 0, 0
        for plan in self.plans:
            self._drawn.append(plan)
            yield plan

    def __len__(self) -> int:
        return len(self.plans)

    def deliver(self) -> None:
        """Count the batch that is delivered next, and forget plans of earlier ones: Lightning may have fetched a batch ahead."""
        self._delivered += 1
        while self._delivered - self._forgotten > 8:
            self._drawn.popleft()
            self._forgotten += 1

    @property
    def seen_batch_indices(self) -> Any:  # type: ignore[override]
        """What Lightning looks for: it takes the numbers of one batch from it."""
        return self

    def __getitem__(self, step: int) -> Any:
        plan = self._drawn[step - self._forgotten]
        numbers = {name: list(plan.get(name, [])) for name in self.sources}
        return numbers if len(numbers) > 1 else next(iter(numbers.values()))
