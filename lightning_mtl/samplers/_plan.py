"""The plan of one step, and the position of sampling after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Plan = dict[str, list[Any]]
"""{source: the rows that this rank reads of it} in one step; where all rows are on other ranks, none or a stand-in."""


class StandIn(list[Any]):
    """A row that is read so that this rank runs a source of the step; its labels do not count."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far sampling has come.

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
