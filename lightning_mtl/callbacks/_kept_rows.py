"""Rows of a source that are kept, and read once more in later phases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lightning as L

from .._lightning import placed
from ..samplers import MultiTaskSampler, Plan, Rows


def refuse_unreadable(sampler: MultiTaskSampler, sources: Iterable[str], who: str) -> None:
    """Check that the rows of these sources can be read once more, by number.

    Args:
        sampler: The sampler of the run.
        sources: Names of the sources.
        who: Name of the callback, for the error message.

    Raises:
        ValueError: Rows of one come as a stream, or in batches of its own.
    """
    for name in sources:
        stream = sampler.streams[name]
        if not isinstance(stream, Rows):
            raise ValueError(
                f"Source {name!r} must have rows that can be read by number for {who}, which reads some again, got "
                f"{type(stream).__name__}. Give its dataset in memory or on disk: a file, a `datasets.Dataset`, a list; not a "
                "stream, nor a DataLoader with a sampler of its own."
            )


def kept_rows(sampler: MultiTaskSampler, source: str, rows: int, use: str) -> list[int]:
    """Return the numbers of the rows that are kept: the first of a random order, which is equal on all ranks.

    Args:
        sampler: The sampler of the run; its seed makes the order, with `use` and `source`.
        source: Name of the source.
        rows: How many rows are kept.
        use: What they are kept for.
    """
    size = sampler.streams[source].rows
    assert size is not None
    order = Rows(size, size, name=f"{use} of {source}")
    order.reseed(sampler.seed)
    return order.take(0, min(rows, size))


def read_rows(trainer: L.Trainer, plan: Plan) -> dict[str, Any]:
    """Read rows as the Trainer does: from its loader, in its precision, on its device."""
    loader: Any = trainer.train_dataloader
    module: Any = trainer.lightning_module
    moved: dict[str, Any] = placed(module, loader.read(plan))
    return moved
