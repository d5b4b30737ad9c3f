"""Whether all ranks have the same rows in the same order: each reads its part of the numbers, not of the rows."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from .._distributed import gather_objects, world_size
from ._reading import Reading
from ._row_keys import row_keys

_SHOWN = 10_000
"""Rows that are compared one by one to find the first that differs."""


def refuse_other_rows(readings: Mapping[tuple[str, str], Reading], targets: Mapping[str, Iterable[str]]) -> None:
    """Check that the rows of all splits are the same on all ranks; with one process, do nothing.

    Args:
        readings: {(source, split): its reading}, the same splits on all ranks.
        targets: The columns of each source that tasks learn from.

    Raises:
        ValueError: They are others, or in another order, with source, split and row.
    """
    if world_size() == 1:
        return
    for (source, split), reading in readings.items():
        keys = _keys(reading, list(targets.get(source, ())))
        own = reading.total, zlib.crc32(keys.tobytes())
        ranks = gather_objects(own)
        if all(of == ranks[0] for of in ranks):
            continue
        first = gather_objects(keys[:_SHOWN].tolist())
        other = next(rank for rank, of in enumerate(ranks) if of != ranks[0])
        pairs = enumerate(zip(first[0], first[other], strict=False))
        row = next((f", the first other one at row {reading.numbers[i]}" for i, (a, b) in pairs if a != b), "")
        raise ValueError(
            f"Source {source!r}, split {split!r}: rows must be the same on all processes and in the same order, since each process reads "
            f"its part of their numbers; got {ranks[0][0]:,} rows on process 0 and {ranks[other][0]:,} on process {other}{row}. Sort the "
            "rows, or shuffle them with a fixed seed; the data module shuffles and shards them itself."
        )


def _keys(reading: Reading, targets: list[str]) -> np.ndarray:
    """Return a key for each row, of its labels, and of its inputs where these are the same whenever they are read."""
    labels = reading.cells(targets) if reading.wanted.inputs.whole is None else {}
    count = len(reading.numbers)
    keys = row_keys([*labels.values()], count)
    inputs = reading.keys() if reading.repeats else np.zeros(0, dtype=np.uint64)
    return (
        keys
        if len(inputs) != count
        else row_keys([pa.array(keys.view(np.int64)), pa.array(inputs.view(np.int64))], count)
    )
