"""A task by itself, fine-tuned from the network for all tasks."""

from __future__ import annotations

import math
from numbers import Real

import lightning as L

from .._distributed import SHARDED
from .._lightning import insert_callbacks, shorten
from ..modules import MultiTaskModule

DEFAULT_SHARE = 0.5
"""The share of a twin's training that fine-tuning takes by default."""


def fine_tuning_share(two_stage: bool | float) -> float:
    """Return the share of a twin's training that fine-tuning takes; 0 for none.

    Raises:
        ValueError: It is no share.
    """
    if isinstance(two_stage, bool):
        return DEFAULT_SHARE * two_stage
    given: object = two_stage
    if not isinstance(given, Real) or not 0 <= two_stage < math.inf:
        raise ValueError(
            f"`two_stage` must be true, false or a positive share of a twin's training, got {two_stage!r}. 0.5 is usual."
        )
    return two_stage


def fine_tuning(trainer: L.Trainer, network: MultiTaskModule, share: float) -> L.Trainer:
    """Make a Trainer start with the weights of a network, and end after this share of its epochs and steps, rounded up.

    Raises:
        ValueError: Neither epochs nor steps end its training.
    """
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if (epochs is None or epochs < 0) and steps < 0:
        raise ValueError(
            f"`trainer` must end training by `max_epochs` or `max_steps` for `two_stage`, got {epochs} and {steps}. Set one."
        )
    shorten(
        trainer,
        epochs=math.ceil(share * epochs) if epochs is not None and epochs > 0 else None,
        steps=math.ceil(share * steps) if steps > 0 else None,
    )
    insert_callbacks(trainer, [_InitialWeights(network)])
    return trainer


class _InitialWeights(L.Callback):
    """Loads the weights of another network into encoder and heads, once the heads are made for the data."""

    def __init__(self, network: MultiTaskModule) -> None:
        self._network = network

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if isinstance(trainer.strategy, SHARDED):
            raise ValueError(
                f"`two_stage` must be left out where parameters are sharded, got {type(trainer.strategy).__name__}. Use "
                "strategy='ddp'."
            )
        pl_module.configure_model()  # the Trainer would call it in a moment
        own, given = pl_module.state_dict(), self._network.state_dict()
        fits = [name for name in own if name in given and given[name].shape == own[name].shape]
        if missing := [name for name in own if name.startswith(("encoder.", "heads.")) and name not in fits]:
            raise ValueError(
                "`build` must give a twin the encoder and the head of the network for all tasks, from which `two_stage` continues, got "
                f"others: {missing[:3]}. Leave `two_stage` out, or build them alike."
            )
        taken = {name: given[name] for name in fits if not name.startswith("balancer.")}
        pl_module.load_state_dict(taken, strict=False)
