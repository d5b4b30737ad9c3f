"""The stream of rows that a sampler draws from, for one split of a source."""

from __future__ import annotations

from ..samplers import BY_SOURCE, Batches, Ready, Rows, Stream
from ._examples import Examples
from ._source import Source
from ._trainer import Ranks


def stream_of(
    source: Source,
    name: str,
    split: str,
    examples: Examples,
    *,
    batch_size: int,
    batches: Batches,
    ranks: Ranks,
    shuffle: bool,
    bucket: bool,
) -> Stream:
    """Return the rows of a split as a stream for a sampler.

    Args:
        source: The source.
        name: Its name.
        split: The split.
        examples: Its rows.
        batch_size: Rows of a batch on each rank, where the source has no size of its own.
        batches: What a step of training holds.
        ranks: The ranks over which rows are sharded.
        shuffle: Whether rows come in random order.
        bucket: Whether texts of similar length come together.

    Raises:
        ValueError: Batches of the source's own where a step mixes sources, or fewer rows than ranks.
    """
    rows_per_step = source.rows_per_step(split, batch_size) * ranks.world
    as_stream = split == "train" and source.stream is not None
    ready = None if as_stream else source.ready_batches(split, name, ranks.world)
    own = ready is not None or source.batch_size is not None
    if own and split == "train" and batches not in BY_SOURCE:
        raise ValueError(
            f"Source {name!r} must have no batches of its own where batches={batches!r} draws rows of all sources "
            "into one. Give its dataset without `batch_size`, or use batches='homogeneous'."
        )
    if as_stream:
        return source.flow(rows_per_step, name, ranks.rank, ranks.world)
    if len(examples) < ranks.world:
        raise ValueError(
            f"Source {name!r} must have a row for each process in split {split!r}, got {len(examples)} for {ranks.world}. Add rows, "
            "or use fewer processes."
        )
    if ready is not None:
        return Ready(ready, len(examples))
    return Rows(
        len(examples),
        rows_per_step,
        name=name,
        shuffle=shuffle and source.shuffled(split),
        lengths=examples.lengths() if bucket else None,
        sort=not shuffle,
        ranks=ranks.world,
    )
