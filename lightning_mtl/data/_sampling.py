"""The sampling rule of a training, and the callbacks that sampling needs."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import lightning as L

from ..callbacks import SamplingMonitor, SamplingSchedule
from ..samplers import Batches, Rule, Uniform, refuse_rule


def missing_callbacks(callbacks: Sequence[L.Callback], sources: Collection[str]) -> list[L.Callback]:
    """Create the callbacks that sampling needs, where the Trainer has none of their kind."""
    kinds: list[type[L.Callback]] = [SamplingSchedule]
    if len(sources) > 1:  # a callback costs in every step
        kinds.append(SamplingMonitor)
    return [kind() for kind in kinds if not any(isinstance(callback, kind) for callback in callbacks)]


def rule_in_use(
    callbacks: Sequence[L.Callback], sampling: Rule | None, sources: Collection[str], batches: Batches
) -> Rule:
    """Return a fresh copy of the rule: of a `SamplingSchedule` that has one, or else of the data module.

    Args:
        callbacks: The callbacks of the Trainer.
        sampling: The rule of the data module. Default: all sources are drawn equally often.
        sources: Names of the sources.
        batches: What a step holds.

    Raises:
        ValueError: The rule of the `SamplingSchedule` does not fit the sources or the batches.
    """
    schedules = (callback for callback in callbacks if isinstance(callback, SamplingSchedule))
    rule = next((schedule.rule for schedule in schedules if schedule.rule is not None), None)
    if rule is not None:
        refuse_rule(rule, sources, batches)
    return copy.deepcopy(rule or sampling or Uniform())
