"""What plans the steps of a run."""

from __future__ import annotations

import lightning as L

from ..samplers import MultiTaskSampler, Phases


def sampler_of(trainer: L.Trainer) -> MultiTaskSampler | None:
    """Give what plans the steps of training, where a `MultiTaskDataModule` feeds them."""
    sampler = getattr(trainer.train_dataloader, "sampler", None)
    return sampler if isinstance(sampler, MultiTaskSampler) else None


def phase_of(sampler: MultiTaskSampler | None) -> int | None:
    """Give the number of the phase that the running step is in; nothing where sources are not drawn in phases."""
    if sampler is None or not isinstance(sampler.rule, Phases):
        return None
    return sampler.rule.phase(sampler.running, sampler.signals)
