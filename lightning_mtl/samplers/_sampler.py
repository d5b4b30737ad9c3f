"""Which rows of which sources come next."""

from __future__ import annotations

import math
import re
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from ._batches import BATCHES, BY_SOURCE, Batches, Draws, cumulated, drawn, largest_remainders, multinomial
from ._epoch import Steps, steps_of
from ._rule import Rule, Signals, shares
from ._stream import Ready, Stream
from ._uniform import Uniform

Plan = dict[str, list[Any]]
"""{source: what is to be read of it} of one step; a source whose rows are all on other ranks has none, or a stand-in."""


class StandIn(list[Any]):
    """A row whose labels are not to be learned from: it is read so that this rank takes part in a source of the step."""


_LOOK_AHEAD = 100
"""Epochs whose rates are looked at before training."""
LAG = 32
"""Steps from the announcement of new rates to their first use: more than any loader reads ahead."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where sampling stands: steps since training began, steps of this epoch, the place in each source's stream."""

    step: int
    taken: int
    places: tuple[int, ...]
    streams: tuple[dict[str, Any] | None, ...] = ()


class MultiTaskSampler(DistributedSampler[Plan]):
    """Plan the steps of training: first which sources, then which of their rows, then which of these on this rank.

    A step is planned for all ranks together and then cut, so ranks agree without talking, and the same global batches come
    whatever the number of ranks and workers. A plan follows from the seed and a few counters: the step, and how many rows of each
    source were drawn. They move on when a batch is delivered (`deliver`), not when it is planned, so that what was read ahead
    is planned again after an interruption; and they run on from epoch to epoch, so that no row waits longer than a pass.

    Args:
        streams: The rows of each source.
        rule: How often each source is drawn. Default: all alike.
        batches: What a step holds: "all", a batch of every source; "homogeneous", a batch of one source; "stratified", rows of
            every source, in fixed numbers that follow the rates; "mixed", rows whose source is drawn one by one. Sources at rate
            0 are left out.
        batch: Rows of a global batch, where it holds rows of several sources ("stratified", "mixed").
        steps: Steps of an epoch: a number, a policy ("longest", "shortest", "proportional"), or {source: passes}. Default:
            "longest" where a step holds a batch of every source, else "proportional".
        epochs: Epochs of the whole training, for rules that ask for it.
        frozen: Whether every epoch is as the first.
        fill: Whether a rank without rows of a source that the step holds gets a `StandIn`: where parameters are sharded, every rank
            must run every source.
        seed: Makes another order.
        num_replicas: Number of ranks.
        rank: Number of this rank.

    Raises:
        ValueError: An unknown kind of batches, or one that leaves a source without rows.

    Example:
        >>> from lightning_mtl.samplers import Rows
        >>> streams = {"a": Rows(6, 2, shuffle=False), "b": Rows(2, 1, shuffle=False)}
        >>> list(MultiTaskSampler(streams, batches="all", steps=3))
        [{'a': [0, 1], 'b': [0]}, {'a': [2, 3], 'b': [1]}, {'a': [4, 5], 'b': [0]}]
        >>> list(MultiTaskSampler(streams, batches="homogeneous", steps=4))
        [{'a': [0, 1]}, {'b': [0]}, {'a': [2, 3]}, {'a': [4, 5]}]
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        rule: Rule | None = None,
        *,
        batches: Batches = "homogeneous",
        batch: int = 1,
        steps: Steps = None,
        epochs: int | None = None,
        frozen: bool = False,
        fill: bool = False,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if batches not in BATCHES:
            raise ValueError(f"`batches` must be one of {list(BATCHES)}, got {batches!r}.")
        self.streams, self.batches, self.batch, self.frozen, self.fill = dict(streams), batches, batch, frozen, fill
        self.num_replicas, self.rank, self.epoch = num_replicas, rank, 0
        self.names = tuple(self.streams)
        self._streams = tuple(self.streams.values())
        self.signals = Signals(
            self.names,
            rows=_numbers([stream.rows for stream in self._streams]),
            batches=_numbers([self._batches_of(stream) for stream in self._streams]),
            epochs=epochs,
        )
        self.stateful = any(stream.stateful for stream in self._streams)
        """Whether a stream has a state of its own, which may differ between ranks."""
        self.delivered = Position(0, 0, (0,) * len(self.names), self._states())
        """Where the batches stand that were handed out."""
        self._start = self.delivered
        self._planned: deque[Position] = deque()
        self._resumed: tuple[int, int] | None = None
        self._reseed(seed)
        self.set_rule(rule or Uniform())
        self.steps = self.signals.steps_per_epoch = self._count_steps(steps)
        self._refuse_bad_rates()

    def _refuse_bad_rates(self) -> None:
        """Ask a rule that follows the step for the rates at the start of each epoch, so that an error comes before training."""
        for epoch in range(
            1 if self.rule.constant or self.rule.feedback else min(self.signals.epochs or 1, _LOOK_AHEAD)
        ):
            self._form(self.rates_at(epoch * self.steps))

    def _batches_of(self, stream: Stream) -> int | float | None:
        if self.batches in BY_SOURCE or stream.rows is None:
            return stream.batches
        return stream.rows / self.batch

    def _reseed(self, seed: int) -> None:
        self.seed, self._draws = seed, Draws(seed)
        for stream in self._streams:
            stream.reseed(seed)

    def _count_steps(self, asked: Steps) -> int:
        rates = self.rates_at(0)
        rows = self.signals.rows.tolist()
        batches = self.signals.batches.tolist()
        if self.batches == "all":
            passes, rows_a_step = batches, sum(n / b for n, b in zip(rows, batches, strict=True))
            asked = asked or "longest"
        else:
            passes = [b / rate if rate > 0 else math.inf for b, rate in zip(batches, rates, strict=True)]
            rows_a_step = sum(rows) / sum(batches)
            asked = asked or "proportional"
        return steps_of(asked, self.names, passes, rows, rows_a_step)

    def draws(self, source: str) -> float:
        """Estimate the rows of a source that an epoch draws, at the rates of its first step."""
        i = self.names.index(source)
        stream, rate = self._streams[i], self.rates_at(self.delivered.step)[i]
        if self.batches not in BY_SOURCE:
            return self.steps * rate * self.batch
        steps = self.steps * (rate if self.batches == "homogeneous" else rate > 0)
        return steps * (stream.batch(0) if stream.rows is None else stream.rows / (stream.batches or 1))

    def passes(self, source: str) -> float:
        """Estimate the passes over a source in an epoch, at the rates of its first step; NaN where its rows are not known."""
        return self.draws(source) / (self.streams[source].rows or math.nan)

    def drawn_rows(self, source: str) -> int:
        """Count the rows of a source, on all ranks, that were delivered since training began."""
        i = self.names.index(source)
        stream, place = self._streams[i], self.delivered.places[i]
        return place * stream.rows // stream.batches if isinstance(stream, Ready) else place

    def drawn_passes(self, source: str) -> float:
        """Count the passes over a source since training began; NaN where its rows are not known."""
        return self.drawn_rows(source) / (self.streams[source].rows or math.nan)

    def steps_with(self, source: str) -> int:
        """Count the steps of an epoch that hold this source alone and read as many rows of it as were drawn so far."""
        batches = self.signals.batches[self.names.index(source)].item()
        read = self.drawn_passes(source) * batches
        if read != read:
            read = self.drawn_rows(source) / self.streams[source].batch(0)
        at = self.delivered
        return max(1, round(read / max(at.step, 1) * self.steps))

    # Rates

    def set_rule(self, rule: Rule) -> None:
        """Sample by this rule from the next planned step on."""
        self.rule = rule
        self._rule_made = re.sub(r" at 0x[0-9a-f]+", "", repr(rule))  # functions write where they lie in memory
        rates = shares(rule, self.delivered.step, self.signals).tolist()
        self._announced: list[tuple[int, list[float]]] = [(self.delivered.step, rates)]
        self._cached: tuple[list[float], Any] | None = None
        self._form(rates)

    def announce(self, rates: Tensor) -> int:
        """Change the rates of a rule that depends on feedback, and tell the step from which they hold.

        Args:
            rates: The share of each source; they must be equal on all ranks.
        """
        step = self.delivered.step
        past = [entry for entry in self._announced if entry[0] <= step][-1:]
        self._announced = [*past, *(entry for entry in self._announced if entry[0] > step)]
        self._announced.append((step + LAG, rates.tolist()))
        return step + LAG

    def rates_at(self, step: int) -> list[float]:
        """Give the share of each source in a step that is not long past."""
        if self.rule.feedback or self.rule.constant:
            return next(rates for since, rates in reversed(self._announced) if since <= step)
        return shares(self.rule, step, self.signals).tolist()

    def shown_rates(self) -> list[float]:
        """Give the rates of the next step as a user reads them: 1 for each source whose batch it holds in any case."""
        rates = self.rates_at(self.delivered.step)
        return [float(rate > 0) for rate in rates] if self.batches == "all" else rates

    def _form(self, rates: list[float]) -> Any:
        """Make of rates what a step asks for: sums to draw from, or fixed numbers; once, while they are the same."""
        if self._cached is None or self._cached[0] != rates:
            self._cached = rates, self._fixed(rates) if self.batches in ("all", "stratified") else cumulated(rates)
        return self._cached[1]

    def _fixed(self, rates: list[float]) -> list[tuple[int, int]]:
        if self.batches == "all":
            return [(i, 1) for i, rate in enumerate(rates) if rate > 0]
        counts = largest_remainders(rates, self.batch)
        if starved := [self.names[i] for i, rate in enumerate(rates) if rate > 0 and counts[i] == 0]:
            raise ValueError(
                f"`batches='stratified'` must give each source a row of the {self.batch} in a global batch, got none for "
                f"{starved} at rates {dict(zip(self.names, rates, strict=True))}. Raise `batch_size` or these rates, or use "
                "batches='mixed'."
            )
        return [(i, count) for i, count in enumerate(counts) if count]

    def _chosen(self, step: int, places: list[int]) -> list[tuple[int, int]]:
        """Say how many rows of which sources the global batch of a step holds."""
        form = self._form(self.rates_at(step))
        if self.batches == "homogeneous":
            i = drawn(form, self._draws.one(step))
            return [(i, self._streams[i].batch(places[i]))]
        if self.batches == "all":
            return [(i, self._streams[i].batch(places[i])) for i, _ in form]
        if self.batches == "stratified":
            return list(form)
        counts = multinomial(form, self._draws.many(step, self.batch))
        return [(i, count) for i, count in enumerate(counts) if count]

    # Steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Plan]:
        """Plan the steps of this epoch that were not delivered yet."""
        ahead = len(self._planned) > 0 or self._resumed is not None or self.frozen
        self._planned.clear()
        epoch, taken = self._resumed or (-1, 0)
        self._resumed = None
        taken = taken if epoch == self.epoch and taken < self.steps else 0
        at = self._start if self.frozen and not taken else self.delivered
        if ahead:  # else every stream stands where it should
            for stream, state in zip(self._streams, at.streams, strict=False):
                if state is not None:
                    stream.load_state_dict(state)
        step, places = at.step, list(at.places)
        for done in range(taken + 1, self.steps + 1):
            plan = self._cut(self._chosen(step, places), places)
            step += 1
            self._planned.append(Position(step, done, tuple(places), self._states()))
            yield plan

    def _states(self) -> tuple[dict[str, Any] | None, ...]:
        return tuple(stream.state_dict() for stream in self._streams) if self.stateful else ()

    def _cut(self, chosen: list[tuple[int, int]], places: list[int]) -> Plan:
        """Give each rank every n-th row of the global batch, counted through over its sources, and move on."""
        plan: Plan = {}
        before = 0
        for i, count in chosen:
            rank = (self.rank - before) % self.num_replicas
            rows = self._streams[i].take(places[i], count, rank, self.num_replicas)
            plan[self.names[i]] = rows if rows or not self.fill else StandIn(self._streams[i].stand_in(places[i]))
            places[i] += count
            before += count
        return plan

    def deliver(self) -> None:
        """Note that the next planned step was handed out."""
        self.delivered = self._planned.popleft()

    # State

    @property
    def made_of(self) -> dict[str, Any]:
        """What the order of examples follows from, beside the seed and the rule."""
        return {
            "sources": {name: stream.rows for name, stream in self.streams.items()},
            "kinds of sources": {name: type(stream).__name__ for name, stream in self.streams.items()},
            "batches": self.batches,
            "global batches of a pass": {name: stream.batches for name, stream in self.streams.items()},
            "rows of a global batch": {name: stream.batch(0) for name, stream in self.streams.items()}
            if self.batches in BY_SOURCE
            else self.batch,
        }

    def state_dict(self) -> dict[str, Any]:
        """Give all that the next step follows from, as plain data: equal on all ranks, but for `streams`."""
        at = self.delivered
        return {
            "made_of": self.made_of,
            "seed": self.seed,
            "epoch": self.epoch,
            "taken": at.taken,
            "step": at.step,
            "places": list(at.places),
            "streams": list(at.streams),
            "rule": self._rule_made,
            "rule_state": self.rule.state_dict(),
            "announced": [[step, list(rates)] for step, rates in self._announced],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was read, with the seed of that run.

        Raises:
            ValueError: The state is of other sources, sizes or batches.
        """
        self.refuse_other(state)
        self._reseed(state["seed"])
        self.delivered = Position(state["step"], state["taken"], tuple(state["places"]), tuple(state["streams"]))
        self._resumed = state["epoch"], state["taken"]
        self._planned.clear()
        if state["rule"] == self._rule_made:
            self.rule.load_state_dict(state["rule_state"])
            self._announced = [(step, list(rates)) for step, rates in state["announced"]]
        else:
            warnings.warn(f"Sampling goes on by {self.rule}; it was saved under {state['rule']}.", stacklevel=2)
            self.set_rule(self.rule)

    def refuse_other(self, state: dict[str, Any]) -> None:
        """Refuse a state that another order of examples follows from.

        Raises:
            ValueError: It is of other sources, sizes or batches.
        """
        saved, today = state.get("made_of", {}), self.made_of
        for what, value in today.items():
            if repr(saved.get(what)) != repr(value):  # the order of the sources counts too
                raise ValueError(
                    f"The checkpoint must be of the same {what} to sample on, got {value} today and {saved.get(what)} in the "
                    "checkpoint. Give what it was saved with (on N times the processes, 1/N of the `batch_size`), or start "
                    "anew from its weights: `warm_start`."
                )


def _numbers(values: Sequence[int | float | None]) -> Tensor:
    return torch.tensor([math.nan if value is None else value for value in values], dtype=torch.float64)
