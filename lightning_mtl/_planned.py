"""What plans the steps of a run."""

from __future__ import annotations

import lightning as L

from .samplers import MultiTaskSampler


def sampler_of(trainer: L.Trainer) -> MultiTaskSampler | None:
    """Give what plans the steps of training, where a `MultiTaskDataModule` feeds them."""
    sampler = getattr(trainer.train_dataloader, "sampler", None)
    return sampler if isinstance(sampler, MultiTaskSampler) else None
