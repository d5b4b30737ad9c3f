"""The phases of a run, and what each of them draws."""

from __future__ import annotations

from dataclasses import dataclass

from ..samplers import MultiTaskSampler, Phases


@dataclass(frozen=True)
class ScheduledPhase:
    """A phase and what came before it in the schedule.

    Args:
        number: Its number.
        sources: The sources that it draws.
        earlier: Sources that phases before it drew, and it does not.
        passed: All sources that phases before it drew.
    """

    number: int
    sources: tuple[str, ...]
    earlier: tuple[str, ...]
    passed: tuple[str, ...]


class PhaseSchedule:
    """Knows in which phase a run is; equal on all ranks.

    Args:
        sampler: The sampler that plans the steps, by `Phases`.
    """

    def __init__(self, sampler: MultiTaskSampler) -> None:
        self.sampler = sampler
        assert isinstance(sampler.rule, Phases)
        self._rule = sampler.rule
        self._drawn = self._rule.drawn(sampler.signals)
        self._known: dict[tuple[int, ...], ScheduledPhase] = {}

    def current(self) -> ScheduledPhase:
        """Return the phase of the running step."""
        step, signals = self.sampler.running, self.sampler.signals
        return self._phase(self._rule.phase(step, signals), self._rule.passed(step, signals))

    def phases(self) -> list[ScheduledPhase]:
        """Return all phases in order; where they are repeated, as they are in a later round."""
        numbers = list(self._drawn)
        return [self._phase(n, numbers if self._rule.repeat else numbers[:i]) for i, n in enumerate(numbers)]

    def sources(self, number: int) -> list[str]:
        """Return the sources that a phase draws."""
        return self._drawn.get(number, [])

    def _phase(self, number: int, before: list[int]) -> ScheduledPhase:
        key = (number, *before)
        if key not in self._known:
            drawn = tuple(self._drawn[number])
            passed = tuple(dict.fromkeys(name for of in before for name in self._drawn[of]))
            earlier = tuple(name for name in passed if name not in drawn)
            self._known[key] = ScheduledPhase(number, drawn, earlier, passed)
        return self._known[key]
