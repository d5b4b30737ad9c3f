"""The sampler of a run, and the phase of the running step."""

from __future__ import annotations

import lightning as L

from ..samplers import MultiTaskSampler, Phases


def sampler_of(trainer: L.Trainer) -> MultiTaskSampler | None:
    """Return the sampler that plans the training steps; None without a `MultiTaskDataModule`."""
    sampler = getattr(trainer.train_dataloader, "sampler", None)
    return sampler if isinstance(sampler, MultiTaskSampler) else None


def phase_of(sampler: MultiTaskSampler | None) -> int | None:
    """Return the number of the phase of the running step; None where sources are not drawn in phases."""
    if sampler is None or not isinstance(sampler.rule, Phases):
        return None
    return sampler.rule.phase(sampler.running, sampler.signals)
