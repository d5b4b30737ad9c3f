"""Phases: one group of sources after the other."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import did_you_mean, require, require_number
from ._named_rates import in_order, require_rates
from ._rule import Rule, Signals


@dataclass(frozen=True)
class Phase:
    """Steps in which only some sources are drawn.

    Args:
        sources: Their names.
        steps: Length of the phase.
        passes: Its length in passes over all its sources together, with a step for each batch: an alternative to `steps`.
        epochs: Its length in epochs: another alternative.
        rates: {source: rate}, for each of its sources. Default: in proportion to their batches.

    Raises:
        ValueError: No source, or one twice; more than one length, or one that is not above 0; rates of other sources.

    Example:
        >>> Phase(["pos", "chunk"], passes=1.0)
        Phase(sources=['pos', 'chunk'], steps=None, passes=1.0, epochs=None, rates=None)
    """

    sources: list[str]
    steps: int | None = None
    passes: float | None = None
    epochs: float | None = None
    rates: dict[str, float] | None = None

    def __post_init__(self) -> None:
        many = not isinstance(self.sources, str)
        require(many, "sources", "a list of names", self.sources, f"Write [{self.sources!r}].")
        require(len(self.sources) > 0, "sources", "names of sources", self.sources, "Name what is drawn in this phase.")
        once = len(set(self.sources)) == len(self.sources)
        require(once, "sources", "named once each", self.sources, "Say how often each is drawn with `rates`.")
        require_number("steps", self.steps, "Leave the phase out.", at_least=1, whole=True, optional=True)
        require_number("passes", self.passes, "1.0 is a pass.", above=0, optional=True)
        require_number("epochs", self.epochs, "1.0 is an epoch.", above=0, optional=True)
        given = [length for length in (self.steps, self.passes, self.epochs) if length is not None]
        require(
            len(given) < 2, "steps`, `passes` or `epochs", "the length of a phase, only one", given, "Drop the others."
        )
        if self.rates is not None:
            self._check(self.rates)

    def _check(self, rates: dict[str, float]) -> None:
        for name in rates:
            if name not in self.sources:
                raise ValueError(
                    f"`rates` must be of the phase's sources {self.sources}, got {name!r}. "
                    + did_you_mean(name, self.sources, "Add it to `sources`, or drop its rate.")
                )
        require_rates(rates, "rates")
        in_order(rates, self.sources, "rates")


class Phases(Rule):
    """Draw the sources of one phase after the other: tasks in a row, a curriculum of stages, tasks in turn in each epoch.

    A phase without `rates` draws its sources in proportion to their batches. With `repeat`, the first phase follows the last:
    one pass for each source is the epoch of Hashimoto et al., "A joint many-task model: growing a neural network for multiple
    NLP tasks", EMNLP 2017. Without `repeat`, training stays in the last phase.

    A single-task twin in a comparison reads only some of the sources. It skips phases that have none of them; the other phases
    draw only the sources that it has, and only these count for their length. So an unknown name is no error here as long as a
    phase remains; the data module, which knows all sources, reports it.

    Args:
        phases: The phases in their order. Each needs a length; the last one only with `repeat`.
        repeat: Whether the first phase follows the last.

    Raises:
        ValueError: No phase, or one without a length; from `rates`: no phase has a source that exists, or the batches
            of a source must be known and are not.

    Example:
        >>> signals = Signals(("pos", "sick"), torch.tensor([90.0, 10.0]), torch.tensor([9.0, 1.0]))
        >>> rule = Phases([Phase(["pos"], steps=2), Phase(["pos", "sick"])], repeat=False)
        >>> [rule.phase(step, signals) for step in range(5)]
        [0, 0, 1, 1, 1]
        >>> rule.rates(0, signals), rule.rates(2, signals)
        (tensor([1., 0.], dtype=torch.float64), tensor([0.9000, 0.1000], dtype=torch.float64))
    """

    leaves_out = True

    def __init__(self, phases: list[Phase], repeat: bool = True) -> None:
        require(len(phases) > 0, "phases", "a list of `Phase`", phases, "Name at least one.")
        for number, phase in enumerate(phases):
            require(
                isinstance(phase, Phase), f"phases[{number}]", "a `Phase`", phase, "Write Phase([source], steps=100)."
            )
            known = not (phase.steps is phase.passes is phase.epochs is None)
            open_ended = number == len(phases) - 1 and not repeat
            remedy = "Give `steps`, `passes` or `epochs`; only the last phase of `repeat=False` has no end."
            require(known or open_ended, f"phases[{number}]", "of a known length", phase, remedy)
        self.phases, self.repeat = list(phases), repeat
        self._planned_for: Any = None
        self._plan: tuple[list[int], list[float]] = ([], [])
        self._rates: dict[int, Tensor] = {}

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Return the rates of the step's phase."""
        number = self.phase(step, signals)
        if number not in self._rates:
            self._rates[number] = self._rates_of(self.phases[number], signals)
        return self._rates[number]

    def _rates_of(self, phase: Phase, signals: Signals) -> Tensor:
        own = _only(phase, signals)
        given = (
            own.known_batches(f"{phase}").double()
            if phase.rates is None
            else in_order(phase.rates, own.sources, "rates")
        )
        rates = torch.zeros(len(signals.sources), dtype=torch.float64)
        rates[[signals.sources.index(name) for name in own.sources]] = given / given.sum()
        return rates

    def names(self) -> set[str]:
        """Return the names of the sources of all phases."""
        return {name for phase in self.phases for name in phase.sources}

    def phase(self, step: int, signals: Signals) -> int:
        """Return the number of the phase that a step is in, from 0.

        Raises:
            ValueError: No phase has a source that exists, or the batches of a source must be known and are not.
        """
        facts = (signals.sources, signals.batches.tolist(), signals.steps_per_epoch)
        if facts != self._planned_for:  # it is asked in every step, for the same sources
            present = self._present(signals)
            ends = list(accumulate(_length(self.phases[number], signals) for number in present))
            self._planned_for, self._plan, self._rates = facts, (present, ends), {}
        present, ends = self._plan
        return present[bisect_right(ends, step % ends[-1] if self.repeat else step, hi=len(ends) - 1)]

    def passed(self, step: int, signals: Signals) -> list[int]:
        """Return the numbers of the phases before the phase that a step is in; from the second round on, all phases."""
        number = self.phase(step, signals)
        present, ends = self._plan
        return list(present) if self.repeat and step >= ends[-1] else present[: present.index(number)]

    def drawn(self, signals: Signals) -> dict[int, list[str]]:
        """Return the names of the sources that each phase draws, in the order of the phases; phases that draw none are skipped."""
        rates = {number: self._rates_of(self.phases[number], signals) for number in self._present(signals)}
        return {number: [signals.sources[i] for i in of.nonzero().flatten()] for number, of in rates.items()}

    def in_turn(self, signals: Signals) -> bool:
        """Return whether sources take turns: each phase draws a single source, and not all draw the same one."""
        drawn = self.drawn(signals).values()
        return all(len(of) == 1 for of in drawn) and len({of[0] for of in drawn}) > 1

    def _present(self, signals: Signals) -> list[int]:
        """Return the numbers of the phases that have a source."""
        present = [n for n, phase in enumerate(self.phases) if set(phase.sources) & set(signals.sources)]
        if not present:
            name = self.phases[0].sources[0]
            raise ValueError(
                f"`phases` must name sources, got {name!r}; sources are {list(signals.sources)}. "
                + did_you_mean(name, signals.sources, "Name some of these.")
            )
        return present


def _only(phase: Phase, signals: Signals) -> Signals:
    """Return the signals of the sources of a phase, so that the batches of other sources need not be known."""
    names = tuple(name for name in phase.sources if name in signals.sources)
    at = [signals.sources.index(name) for name in names]
    return Signals(names, signals.rows[at], signals.batches[at])


def _length(phase: Phase, signals: Signals) -> float:
    """Return the number of steps of a phase; infinity for a phase without a length."""
    if phase.epochs is not None:
        return float(max(1, round(phase.epochs * signals.steps_per_epoch)))
    if phase.passes is None:
        return math.inf if phase.steps is None else float(phase.steps)
    steps = phase.passes * float(_only(phase, signals).known_batches(f"{phase}").double().sum())
    return float(max(1, math.ceil(round(steps, 6))))  # in floating point 0.07 x 100 is more than 7
