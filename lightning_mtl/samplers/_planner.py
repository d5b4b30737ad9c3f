"""Plans steps one after the other: which rows of which sources a rank reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ._batches import Contents
from ._plan import Plan, Position, StandIn
from ._rates import Rates
from ._stream import Stream


@dataclass
class Planner:
    """Plans steps for all ranks together, and takes the shard of this rank.

    Args:
        names: Names of the sources.
        streams: The rows of each source.
        contents: How many rows of which sources a step holds.
        rates: How often each source is drawn.
        rank: Number of this rank.
        ranks: Number of ranks.
        fill: Whether a source that the step holds gets a `StandIn` where this rank has none of its rows.
    """

    names: Sequence[str]
    streams: Sequence[Stream]
    contents: Contents
    rates: Rates
    rank: int
    ranks: int
    fill: bool

    def steps(self, at: Position, last: int) -> Iterator[tuple[Plan, Position]]:
        """Plan the steps of an epoch.

        Args:
            at: The position before the first of these steps.
            last: The last step of the epoch, counted from 1.

        Returns:
            For each step its plan, and the position after it.
        """
        step, places, states = at.step, list(at.places), list(at.streams)
        for taken in range(at.taken + 1, last + 1):
            chosen = self.contents.of(step, self.rates.at(step), places)
            plan = self._shard(chosen, places)
            step += 1
            for i in (i for i, _ in chosen if self.streams[i].stateful):
                states[i] = self.streams[i].state_dict()
            yield plan, Position(step, taken, tuple(places), tuple(states))

    def _shard(self, chosen: Sequence[tuple[int, int]], places: list[int]) -> Plan:
        """Return every n-th row of the global batch, counted across its sources, and advance the places."""
        plan: Plan = {}
        before = 0
        for i, count in chosen:
            rows = self.streams[i].take(places[i], count, (self.rank - before) % self.ranks, self.ranks)
            plan[self.names[i]] = rows if rows or not self.fill else StandIn(self.streams[i].stand_in(places[i]))
            places[i] += count
            before += count
        return plan
