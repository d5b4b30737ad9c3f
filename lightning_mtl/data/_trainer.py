"""What a data module asks of its Trainer; without a Trainer, the data are read as by one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from .._distributed import SHARDED
from .._lightning import batches_done
from ..task import MultiTask


class Ranks(NamedTuple):
    """The number of this rank, and how many ranks there are."""

    rank: int
    world: int


def build_layers(trainer: Any, module: MultiTask) -> None:
    """Make the layers of a module that depend on its data, as the Trainer would, but before callbacks copy, freeze or prune."""
    if trainer is not None:
        with trainer.strategy.tensor_init_context(), trainer.precision_plugin.module_init_context():
            module.build_layers()


def ranks_of(trainer: Any) -> Ranks:
    """Return the ranks over which the rows are sharded."""
    kwargs = trainer.distributed_sampler_kwargs if trainer else None
    return Ranks(kwargs["rank"], kwargs["num_replicas"]) if kwargs else Ranks(0, 1)


def counter_of(trainer: Any) -> Callable[[], int] | None:
    """Return what counts the training batches that are over; None without a Trainer."""
    return None if trainer is None else partial(batches_done, trainer)


def seed_or_global(seed: int | None) -> int:
    """Return a seed, or else that of `seed_everything`, or else 0."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed


def on_gpu(trainer: Any) -> bool:
    """Return whether batches go to a GPU."""
    return trainer is not None and trainer.strategy.root_device.type == "cuda"


def overfits(trainer: Any) -> bool:
    """Return whether every epoch holds the same few batches."""
    return trainer is not None and getattr(trainer, "overfit_batches", 0) > 0


def shards_parameters(trainer: Any) -> bool:
    """Return whether the strategy shards the parameters over the ranks."""
    return isinstance(getattr(trainer, "strategy", None), SHARDED)


def last_epoch(trainer: Any) -> int | None:
    """Return how many epochs training takes, where it has an end in epochs."""
    epochs = getattr(trainer, "max_epochs", None)
    return epochs if epochs and epochs > 0 else None


def reads_whole(trainer: Any, split: str) -> bool:
    """Return whether an evaluation reads all batches of a split: "validation" or "test"."""
    limit = {"validation": "limit_val_batches", "test": "limit_test_batches"}[split]
    sanity = split == "validation" and bool(getattr(trainer, "sanity_checking", False))
    return getattr(trainer, limit, 1.0) == 1.0 and not sanity
