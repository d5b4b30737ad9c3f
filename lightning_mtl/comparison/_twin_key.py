"""The cache key of a single-task twin: a hash of all that determines its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelSummary, ProgressBar
from torch import nn

from .._lightning import callbacks_of
from .._random_state import random_state, unchanged_random_state
from ..data import MultiTaskDataModule, Source
from ..digests import NoDigestError, digest, version_of
from ..modules import MultiTaskModule
from ..optim import FineTuning

_PACKAGES = ("lightning_mtl", "torch", "lightning", "torchmetrics", "datasets", "transformers")
_TRAINER = (
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "overfit_batches",
    "fast_dev_run",
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "num_devices",
    "num_nodes",
    "val_check_interval",
    "check_val_every_n_epoch",
    "num_sanity_val_steps",
    "reload_dataloaders_every_n_epochs",
)
_DATA = ("batch_size", "batches", "steps_per_epoch", "seed", "bucket", "tokenizer")
_SOURCE = ("text", "words", "features", "image", "transform", "batch_size", "rows", "collate")
_CHECKPOINT = (
    "monitor",
    "mode",
    "save_top_k",
    "save_weights_only",
    "_every_n_epochs",
    "_every_n_train_steps",
    "_save_on_train_epoch_end",
)
_DERIVED = ("_optimizer", "_losses", "_balance", "task_evaluation", "loss_over_ranks", "train_log")
"""Attributes of a module that follow from the others, or are hashed apart from them."""


def twin_key(
    module: MultiTaskModule, trainer: L.Trainer, data: MultiTaskDataModule, seed: int, known: dict[int, str]
) -> str:
    """Return a hash of the untrained module, the Trainer, the data, the seed and the versions; random states are not changed.

    Args:
        module: The twin, before training.
        trainer: Its Trainer.
        data: The data, with the twin's `steps_per_epoch`.
        seed: The seed.
        known: Hashes of splits that were read before.

    Raises:
        NoDigestError: One of these may differ the next time.
    """
    with unchanged_random_state():
        return digest(
            {
                "module": digest(module, without=_DERIVED),
                "optimizer": _optimizer(module),
                "trainer": _trainer(trainer),
                "data": _data(module, data, known),
                "seed": seed,
                "random state": random_state()["torch"],
                "versions": {name: version_of(name) for name in _PACKAGES},
            }
        )


def _optimizer(module: MultiTaskModule) -> Any:
    """Return the optimizer's kind and settings, found by making one for two numbers."""
    make = module._optimizer
    if make is None or isinstance(make, FineTuning):
        return digest(make)
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "name": name} for name in ("trunk", "heads")]
    try:
        made = make(groups)
    except Exception as error:  # a user's own function, which may need more than two numbers
        raise NoDigestError(f"the optimizer cannot be made of two numbers: {error}") from error
    settings = [{name: of for name, of in group.items() if name != "params"} for group in made.param_groups]
    return digest([type(made), made.defaults, settings])


def _trainer(trainer: L.Trainer) -> str:
    settings = {name: getattr(trainer, name) for name in _TRAINER}
    parts = [trainer.strategy, trainer.accelerator, trainer.precision_plugin]
    callbacks = [_callback(of) for of in callbacks_of(trainer) if not _only_observes(of)]
    numbers = [torch.get_default_dtype(), torch.get_float32_matmul_precision()]
    return digest([settings, [type(part) for part in parts], callbacks, numbers])


def _callback(of: L.Callback) -> Any:
    if isinstance(of, Checkpoint):  # its folder differs from run to run
        return [type(of), {name: getattr(of, name, None) for name in _CHECKPOINT}]
    return of


def _only_observes(of: L.Callback) -> bool:
    ours = type(of).__module__.split(".")[0] in ("lightning", "lightning_mtl")
    return isinstance(of, ProgressBar | ModelSummary) or (ours and type(of).__name__.endswith("Monitor"))


def _data(module: MultiTaskModule, data: MultiTaskDataModule, known: dict[int, str]) -> str:
    settings = {name: getattr(data, name) for name in _DATA}
    reads = {task.name: task.resolve(data.sources) for task in module.tasks}
    sources = {name: _source(name, data.sources[name], known) for name in dict.fromkeys(reads.values())}
    usual = _usual_attributes()
    own = {name: of for name, of in vars(data).items() if name not in usual}
    return digest([type(data), settings, own, _rule(data.sampling), sorted(data.not_inputs), reads, sources])


def _rule(rule: Any) -> Any:
    """Return the settings of a sampling rule; what a rule of the library learns in training is in its private attributes."""
    if type(rule).__module__.split(".")[0] != "lightning_mtl":
        return rule
    return [type(rule), {name: of for name, of in vars(rule).items() if not name.startswith("_")}]


def _usual_attributes() -> set[str]:
    """Return the names of the attributes that every data module has; others are the user's own."""
    return {*vars(MultiTaskDataModule({"s": {"train": [{}]}})), "val_dataloader", "_hparams", "_hparams_initial"}


def _source(name: str, source: Source, known: dict[int, str]) -> Mapping[str, Any]:
    if source.stream is not None:
        raise NoDigestError(f"source {name!r} is a stream, whose rows are not known beforehand")
    if source.loaders:
        raise NoDigestError(f"source {name!r} is a ready DataLoader, which may shuffle in its own way")
    settings = {of: getattr(source, of) for of in _SOURCE}
    return {"settings": settings, "splits": {split: _rows(of, known) for split, of in source.splits.items()}}


def _rows(rows: Any, known: dict[int, str]) -> str:
    """Return a hash of the rows of a split: of all that it holds."""
    if id(rows) not in known:
        known[id(rows)] = digest(rows if isinstance(rows, datasets.Dataset | list) else _read_all(rows))
    return known[id(rows)]


def _read_all(rows: Any) -> list[Any]:
    read = [rows[i] for i in range(len(rows))]
    if digest(read[:8]) != digest([rows[i] for i in range(min(8, len(rows)))]):
        raise NoDigestError(f"rows of a {type(rows).__name__} differ each time they are read")
    return [type(rows), read]
