"""What one step reads, and where sampling stands after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Plan = dict[str, list[Any]]
"""{source: what is to be read of it} of one step; a source whose rows are all on other ranks has none, or a stand-in."""


class StandIn(list[Any]):
    """A row whose labels are not to be learned from: it is read so that this rank takes part in a source of the step."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where sampling stands.

    Args:
        step: Steps since training began.
        taken: Steps of this epoch.
        places: The place in the stream of each source.
        streams: The state of each stream that has one.
    """

    step: int
    taken: int
    places: tuple[int, ...]
    streams: tuple[dict[str, Any] | None, ...] = ()
