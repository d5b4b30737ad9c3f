"""What determines the order of examples, beside the seed and the rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._batches import BY_SOURCE, Batches
from ._stream import Stream


def order_facts(streams: Mapping[str, Stream], batches: Batches, batch: int) -> dict[str, Any]:
    """Return the facts that two runs must have in common so that one can resume the other.

    Args:
        streams: The rows of each source.
        batches: What a step holds.
        batch: Rows of a global batch that holds rows of several sources.
    """
    return {  # the names are in checkpoints
        "sources": {name: stream.rows for name, stream in streams.items()},
        "kinds of sources": {name: type(stream).__name__ for name, stream in streams.items()},
        "first rows of streams": {name: stream.first for name, stream in streams.items() if stream.first},
        "batches": batches,
        "global batches of a pass": {name: stream.batches for name, stream in streams.items()},
        "rows of a global batch": {name: stream.batch(0) for name, stream in streams.items()}
        if batches in BY_SOURCE
        else batch,
    }


def refuse_other_order(saved: Mapping[str, Any], today: Mapping[str, Any]) -> None:
    """Reject a checkpoint whose examples come in another order.

    Args:
        saved: The `order_facts` of the checkpoint.
        today: Those of this run.

    Raises:
        ValueError: One of the facts differs.
    """
    for what, value in today.items():
        if repr(saved.get(what)) != repr(value):  # the order of the sources counts too
            raise ValueError(
                f"The checkpoint must be of the same {what} to resume sampling, got {value} today and {saved.get(what)} in the "
                "checkpoint. Give what it was saved with (on N times the processes, 1/N of the `batch_size`), or start "
                "a new run from its weights: `warm_start`."
            )
