"""The batches of the user's own `DataLoader`."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, cast

from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from ._iterables import is_iterable


def own_batches(loader: DataLoader[Any] | None, name: str, ranks: int) -> Any:
    """Return the batches of row numbers of a loader with a sampler of its own; None where it is a plain one.

    Args:
        loader: The loader, if there is one.
        name: Name of its source.
        ranks: Number of ranks.

    Raises:
        ValueError: The loader makes no batches, or its batches cannot be sharded.
    """
    if loader is None or (loader.batch_sampler is not None and is_iterable(loader)):
        return None
    if loader.batch_sampler is None:
        raise ValueError(
            f"The DataLoader of source {name!r} must make batches, got batch_size=None. Give its dataset, or pass "
            f"loaders of ready batches to the Trainer: CombinedLoader({{{name!r}: loader}}, 'max_size_cycle')."
        )
    if _is_plain(loader) and not loader.drop_last:
        return None
    if ranks > 1:
        raise ValueError(
            f"The DataLoader of source {name!r} must have a plain sampler to be sharded over {ranks} ranks, got "
            f"{type(loader.sampler).__name__} with drop_last={loader.drop_last}. Give its dataset instead."
        )
    return loader.batch_sampler


def _is_plain(loader: DataLoader[Any]) -> bool:
    """Return whether a loader reads each row once, in its own or in random order."""
    sampler = loader.sampler
    return (
        type(loader.batch_sampler) is BatchSampler
        and type(sampler) in (RandomSampler, SequentialSampler)
        and not getattr(sampler, "replacement", False)
        and len(cast(Sized, sampler)) == len(cast(Sized, loader.dataset))
    )
