"""The user's data as an iterable of rows."""

from __future__ import annotations

import zlib
from itertools import chain, islice
from typing import Any

import datasets
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader, IterableDataset

from ..samplers import Flow, Once, own_copy
from ._rows import rows_of


def is_iterable(data: Any) -> bool:
    """Return whether rows cannot be read by number: of an iterable dataset, a generator, a ready loader of one."""
    rows = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(rows, IterableDataset | datasets.IterableDataset):
        return True
    return hasattr(rows, "__iter__") and not hasattr(rows, "__getitem__")


def first_rows(rows: Any, most: int | None = None) -> tuple[Any, Any]:
    """Read the first rows of an iterable, or all of them.

    Returns:
        The rows, by number, and the iterable, which still returns these rows too.
    """
    copies = _keeps_state(rows) and not isinstance(rows, datasets.IterableDataset)
    iterator = iter(own_copy(rows) if copies else rows)  # an iterable with a state may continue where reading ended
    first = list(islice(iterator, most))
    whole = Once(chain(first, iterator)) if iterator is rows else rows
    if isinstance(rows, datasets.IterableDataset) and rows.features is not None:
        return datasets.Dataset.from_list(first, features=rows.features), whole
    return rows_of(first), whole


def saves_exactly(rows: Any) -> bool:
    """Return whether an iterable has a state from which it resumes with exactly the next row."""
    if not _keeps_state(rows):
        return False
    inner = [getattr(rows, "_ex_iterable", None)]
    for part in inner:
        if type(part).__name__.startswith("BufferShuffled"):
            return False  # `datasets` does not save the rows in the buffer
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
