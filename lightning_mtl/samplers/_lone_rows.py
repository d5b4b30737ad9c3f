"""Whether a rank may get a single row of a source in a step, as no batch norm can read it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ._batches import BY_SOURCE, Contents
from ._stream import Rows, Stream

RARE = 1e-6
"""The share of steps below which a single row is taken not to occur."""


def sources_alone(
    contents: Contents, streams: Mapping[str, Stream], shares: Iterable[Sequence[float]], ranks: int, *, fill: bool
) -> list[str]:
    """Return the sources of which a rank may get a single row in a step.

    Args:
        contents: What a step holds.
        streams: The rows of each source.
        shares: In some steps, the share of each source of the steps, or of the rows where a step mixes sources.
        ranks: Number of ranks.
        fill: Whether a rank without rows of a source that the step holds gets a stand-in.
    """
    of_sources = zip(streams.items(), zip(*shares, strict=True), strict=True)
    return [
        name
        for (name, stream), of in of_sources
        if any(_may_be_alone(contents, stream, share, ranks, fill=fill) for share in of)
    ]


def _may_be_alone(contents: Contents, stream: Stream, share: float, ranks: int, *, fill: bool) -> bool:
    if share == 0:
        return False
    if contents.kind in BY_SOURCE:  # batches of one size, but for one row
        return isinstance(stream, Rows) and stream.rows // stream.batches < 2 * ranks
    if contents.kind == "stratified":
        return round(share * contents.rows) < 2 * ranks
    few = range(0 if fill else 1, 2 * ranks)  # of so many rows of a global batch a rank may get one
    rare = sum(math.comb(contents.rows, n) * share**n * (1 - share) ** (contents.rows - n) for n in few)
    return rare > RARE
