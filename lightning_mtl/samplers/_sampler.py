"""The sampler of training: which rows of which sources each step holds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from ._arguments import require_plan, require_ranks
from ._batches import BY_SOURCE, Batches, Contents
from ._epoch import Steps, steps_at_rates
from ._lone_rows import sources_alone
from ._order import order_facts, refuse_other_order
from ._plan import Plan, Position
from ._planner import Planner
from ._rates import Rates
from ._rule import Rule, Signals
from ._stream import Ready, Stream
from ._uniform import Uniform

_CHECKED_STEPS = 100
"""Steps, spread over the training, whose rates are checked before it."""


class MultiTaskSampler(DistributedSampler[Plan]):
    """Plan the steps of training: first which sources, then which of their rows, then which of these rows on this rank.

    A step is planned for all ranks together and then sharded. So ranks need no communication, and the global batches do not
    depend on the number of ranks and workers. A plan follows from the seed and a few counters: the step, and how many rows of
    each source were drawn. The counters advance when a batch is delivered (`deliver`), not when it is planned, so that batches
    that were only read ahead are planned again after an interruption. They continue from epoch to epoch, so that no row waits
    longer than a pass.

    Args:
        streams: The rows of each source.
        rule: How often each source is drawn. Default: all equally often.
        batches: What a step holds: "all", a batch of every source; "homogeneous", a batch of one source; "stratified", rows of
            every source, in fixed numbers that follow the rates; "mixed", rows whose sources are drawn one by one. Sources with
            rate 0 are left out.
        batch: Rows of a global batch that holds rows of several sources ("stratified", "mixed").
        steps: Steps of an epoch: a number, a policy ("longest", "shortest", "proportional"), or {source: passes}. Default:
            "longest" where a step holds a batch of every source, else "proportional".
        epochs: Epochs of the whole training, for rules that need it.
        limit: Steps of an epoch that the Trainer takes: a number, or a share (`limit_train_batches`).
        frozen: Whether every epoch repeats the first one.
        fill: Whether a rank without rows of a source that the step holds gets a `StandIn`: where parameters are sharded, every rank
            must run every source.
        seed: Other seeds give other orders.
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
        limit: int | float = 1.0,
        frozen: bool = False,
        fill: bool = False,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        require_ranks(rank, num_replicas)
        require_plan(batch, epochs, limit, seed)
        self.rule = rule or Uniform()
        if frozen and self.rule.feedback:
            raise ValueError(
                f"`sampling` must not follow a run whose epochs are all the same (`overfit_batches`), got {self.rule}."
            )
        self.streams, self.batches, self.batch, self.frozen, self.fill = dict(streams), batches, batch, frozen, fill
        self.num_replicas, self.rank, self.epoch = num_replicas, rank, 0
        self.names, self._streams = tuple(self.streams), tuple(self.streams.values())
        self.contents = Contents(batches, batch, self.streams, fixed=self.rule.constant)
        self.signals = Signals(
            self.names,
            rows=_numbers([stream.rows for stream in self._streams]),
            batches=_numbers([self._batches_of(stream) for stream in self._streams]),
            epochs=epochs,
        )
        self.rates = Rates(self.rule, self.signals)
        self._planner = Planner(self.names, self._streams, self.contents, self.rates, rank, num_replicas, fill)
        self.stateful = any(stream.stateful for stream in self._streams)
        """Whether a stream has a state of its own, which may differ between ranks."""
        states = tuple(stream.state_dict() for stream in self._streams)
        self.delivered = Position(0, 0, (0,) * len(self.names), states)
        """The position after the last batch that was delivered."""
        self._start = self._before = self.delivered
        self._planned: deque[Position] = deque()
        self._resumed: tuple[int, int] | None = None
        self._reseed(seed)
        self.steps = steps_at_rates(
            steps,
            self.names,
            self.rates.at(0),
            rows=self.signals.rows.tolist(),
            batches=self.signals.batches.tolist(),
            every_source=batches == "all",
        )
        self.signals.steps_per_epoch = self.taken = _limited(self.steps, limit)
        """Steps of an epoch that the Trainer takes."""
        shares = self._coming_shares(self.signals.epochs or 1)  # so that bad rates are an error before training
        self.never = [name for name, share in zip(self.names, shares.sum(0).tolist(), strict=True) if not share]
        """Sources that no step seems to hold."""

    def _coming_shares(self, epochs: int) -> Tensor:
        """Return the share of each source in some steps of the coming epochs: [steps, sources]."""
        constant = self.rule.constant or (self.rule.feedback and self.rule.base is None)
        first, steps = self.delivered.step, 1 if constant else self.taken * epochs
        checked = range(first, first + steps, -(-steps // _CHECKED_STEPS))
        return torch.tensor([self.contents.shares(self.rates.at(step)) for step in checked], dtype=torch.float64)

    def _batches_of(self, stream: Stream) -> int | float | None:
        if self.batches in BY_SOURCE or stream.rows is None:
            return stream.batches
        return stream.rows / self.batch

    def _reseed(self, seed: int) -> None:
        self.seed = seed
        self.contents.reseed(seed)
        for stream in self._streams:
            stream.reseed(seed)

    def lone_rows(self) -> list[str]:
        """Return the sources of which a rank may get a single row in a step of the next epoch."""
        shares = self._coming_shares(1).tolist()
        return sources_alone(self.contents, self.streams, shares, self.num_replicas, fill=self.fill)

    def epoch_rates(self) -> list[float]:
        """Estimate the share of each source in the next epoch, see `Contents.shares`; for a rule with feedback, as it is now."""
        return self._coming_shares(1).mean(0).tolist()

    def epoch_draws(self, rates: Sequence[float]) -> dict[str, float]:
        """Estimate the rows of each source that an epoch draws at these `epoch_rates`."""
        return {
            name: self.taken * rate * self.contents.rows_of(i)
            for i, (name, rate) in enumerate(zip(self.names, rates, strict=True))
        }

    def drawn_rows(self, source: str) -> int:
        """Return how many rows of a source were delivered on all ranks since training began."""
        i = self.names.index(source)
        stream, place = self._streams[i], self.delivered.places[i]
        return place * stream.rows // stream.batches if isinstance(stream, Ready) else place

    def drawn_passes(self, source: str) -> float:
        """Return the passes over a source since training began; NaN where its rows are not known."""
        return self.drawn_rows(source) / (self.streams[source].rows or math.nan)

    def steps_with(self, source: str) -> int:
        """Return the steps of an epoch of this source alone that reads as many of its rows as an epoch has drawn so far, on average."""
        batches = self.signals.batches[self.names.index(source)].item()
        read = self.drawn_passes(source) * batches
        if read != read:
            read = self.drawn_rows(source) / self.streams[source].batch(0)
        at = self.delivered
        return max(1, round(read / max(at.step, 1) * self.steps))

    @property
    def running(self) -> int:
        """The step that is running: the last one that was delivered."""
        return self.delivered.step - 1

    def leave_out(self, sources: Iterable[str]) -> int:
        """Stop drawing sources, and return the step from which they are left out: `LAG` steps after the last delivered one.

        Epochs keep their length, and the other sources take over the shares. Where a rule draws none of the others in a step, they
        are drawn equally often.

        Args:
            sources: Their names, equal on all ranks; some must remain.
        """
        self.contents.fixed = False  # rates change
        return self.rates.leave_out(self.delivered.step, sources)

    def shown_rates(self) -> list[float]:
        """Return the share of each source in the next step."""
        return self.contents.shares(self.rates.at(self.delivered.step))

    def draws_since(self, places: Sequence[int]) -> Tensor:
        """Return how often each source was drawn since these places: batches, or rows where a step mixes sources."""
        read: list[float] = [now - then for now, then in zip(self.delivered.places, places, strict=True)]
        if self.batches in BY_SOURCE:
            read = [rows / stream.batch(0) for rows, stream in zip(read, self._streams, strict=True)]
        return torch.tensor(read, dtype=torch.float64)

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
        if ahead:  # else every stream is where it should be
            for stream, state in zip(self._streams, at.streams, strict=True):
                if state is not None:
                    stream.load_state_dict(state)
        for plan, position in self._planner.steps(replace(at, taken=taken), self.steps):
            self._planned.append(position)
            yield plan

    def deliver(self) -> None:
        """Count the next planned step as delivered."""
        self._before, self.delivered = self.delivered, self._planned.popleft()

    # State

    @property
    def made_of(self) -> dict[str, Any]:
        """What determines the order of examples, beside the seed and the rule."""
        return order_facts(self.streams, self.batches, self.batch)

    def state_dict(self, *, before_last: bool = False) -> dict[str, Any]:
        """Return everything that determines the next step, as plain data: equal on all ranks, except for `streams`.

        Args:
            before_last: Whether the last batch that was delivered counts as not delivered.
        """
        at = replace(self._before, taken=self.delivered.taken - 1) if before_last else self.delivered
        return {
            "made_of": self.made_of,
            "seed": self.seed,
            "epoch": self.epoch,
            "taken": at.taken,
            "step": at.step,
            "places": list(at.places),
            "streams": list(at.streams),
            "rates": self.rates.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume where `state_dict` was called, with the seed of that run.

        Raises:
            ValueError: The state is of other sources, sizes or batches.
        """
        self.refuse_other(state)
        self._reseed(state["seed"])
        self.delivered = Position(state["step"], state["taken"], tuple(state["places"]), tuple(state["streams"]))
        self._resumed = state["epoch"], state["taken"]
        self._planned.clear()
        self.rates.load_state_dict(state["rates"])
        self.contents.fixed = self.contents.fixed and not self.rates.left_out

    def refuse_other(self, state: dict[str, Any]) -> None:
        """Reject a state of another order of examples.

        Raises:
            ValueError: It is of other sources, sizes or batches.
        """
        refuse_other_order(state.get("made_of", {}), self.made_of)


def _numbers(values: Sequence[int | float | None]) -> Tensor:
    return torch.tensor([math.nan if value is None else value for value in values], dtype=torch.float64)


def _limited(steps: int, limit: int | float) -> int:
    return min(steps, limit) if isinstance(limit, int) else max(1, int(steps * limit))
