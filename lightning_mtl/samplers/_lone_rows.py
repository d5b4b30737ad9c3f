"""Whether a rank may get a single row of a source in a step, as no batch norm can read it."""

from __future__ import annotations

import math

from ._batches import BY_SOURCE, Contents
from ._stream import Rows, Stream

RARE = 1e-6
"""The share of steps below which a single row is taken not to occur."""


def may_be_alone(contents: Contents, stream: Stream, share: float, ranks: int, *, fill: bool) -> bool:
    """Return whether a rank may get a single row of a source in a step.

    Args:
        contents: What a step holds.
        stream: The rows of the source.
        share: Its share of the steps, or of the rows where a step mixes sources.
        ranks: Number of ranks.
        fill: Whether a rank without rows of a source that the step holds gets a stand-in.
    """
    if share == 0:
        return False
    if contents.kind in BY_SOURCE:  # batches of one size, but for one row
        return isinstance(stream, Rows) and stream.rows // stream.batches < 2 * ranks
    if contents.kind == "stratified":
        return round(share * contents.rows) < 2 * ranks
    few = range(0 if fill else 1, 2 * ranks)  # of so many rows of a global batch a rank may get one
    rare = sum(math.comb(contents.rows, n) * share**n * (1 - share) ** (contents.rows - n) for n in few)
    return rare > RARE
