"""The user's data as rows that come one after another."""

from __future__ import annotations

import zlib
from itertools import chain, islice
from typing import Any

import datasets
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader, IterableDataset

from ..samplers import Flow, Once, own_copy
from ._rows import rows_of


def flows(data: Any) -> bool:
    """Say whether rows come only one after another: of an iterable dataset, a generator, a ready loader of one."""
    rows = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(rows, IterableDataset | datasets.IterableDataset):
        return True
    return hasattr(rows, "__iter__") and not hasattr(rows, "__getitem__")


def beginning(rows: Any, most: int | None = None) -> tuple[Any, Any]:
    """Read the first rows of an iterable, or all of them.

    Returns:
        The rows, by number, and the iterable, which gives them all the same.
    """
    own = _keeps_state(rows) and not isinstance(rows, datasets.IterableDataset)
    read = own_copy(rows) if own else rows  # what knows where it stands may go on from where reading ended
    iterator = iter(read)
    first = list(islice(iterator, most))
    left = Once(chain(first, iterator)) if iterator is rows else rows
    if isinstance(rows, datasets.IterableDataset) and rows.features is not None:
        return datasets.Dataset.from_list(first, features=rows.features), left
    return rows_of(first), left


def saves_exactly(rows: Any) -> bool:
    """Say whether an iterable keeps a state from which it reads on with the very next row."""
    if not _keeps_state(rows):
        return False
    inner = [getattr(rows, "_ex_iterable", None)]
    for part in inner:
        if type(part).__name__.startswith("BufferShuffled"):
            return False  # `datasets` does not save what lies in the buffer
        inner += [getattr(part, "ex_iterable", None)] * hasattr(part, "ex_iterable")
        inner += getattr(part, "ex_iterables", [])
    return True


def _keeps_state(rows: Any) -> bool:
    return hasattr(rows, "state_dict") and hasattr(rows, "load_state_dict")


def flow_of(rows: Any, seen: Any, batch: int, *, name: str, size: int | None, rank: int, ranks: int) -> Flow:
    """Return an iterable as a stream that a sampler can draw from.

    Args:
        rows: The iterable.
        seen: Its first rows, by number.
        batch: Rows of a global batch.
        name: Name of the source, for error messages.
        size: Rows of a pass, where they are known.
        rank: Number of this rank.
        ranks: Number of ranks: a Hugging Face stream is sharded, of any other each rank keeps its part.
    """
    own = isinstance(rows, datasets.IterableDataset)
    rows = split_dataset_by_node(rows, rank, ranks) if own and ranks > 1 else rows
    saves = saves_exactly(rows)
    first = 0 if saves else _fingerprint([seen[i] for i in range(min(16, len(seen)))])
    return Flow(rows, batch, name=name, size=size, own=own, saves=saves, first=first)


def _fingerprint(rows: list[Any]) -> int:
    return zlib.crc32(repr(rows).encode())
