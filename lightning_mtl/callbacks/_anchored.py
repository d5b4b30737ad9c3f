"""What callbacks that hold parameters at an anchor share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from .._checks import require
from .._distributed import SHARDED
from ._phased import Phased
from ._stateful import Remembering


class Anchored(Phased, Remembering):
    """The base of callbacks that draw parameters back to where earlier phases left them.

    When a phase ends, `hold` notes what is held. The gradient of the penalty is added once in each step of the optimizer, after
    gradients were summed up, averaged over the ranks and unscaled, before they are clipped, and only to what has one.

    Args:
        strength: What the penalty is multiplied with.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        fits = 0 <= strength < math.inf
        require(fits, "strength", "finite and at least 0", strength, "0 holds nothing.")
        self.strength = strength
        self.held: dict[str, list[Tensor]] = {}
        """What parameters are held at, by their names."""
        self._within: int | None = None
        """The phase of the last step."""
        self._names: dict[nn.Parameter, str] = {}

    @abstractmethod
    def hold(self, trainer: L.Trainer, module: Any, ended: int) -> None:
        """Note what is held from now on.

        Args:
            trainer: The Trainer.
            module: The model.
            ended: Number of the phase that has ended.
        """

    @abstractmethod
    def away(self, now: list[Tensor], held: list[list[Tensor]], rate: float) -> list[Tensor]:
        """Give the penalty's gradient for a strength of 1, for one parameter after the other.

        Args:
            now: What the parameters are.
            held: What is held of each.
            rate: The optimizer's learning rate for them.
        """

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Refuse a run without phases, and parameters that are cut."""
        if stage == "fit":
            refuse_cut(trainer, type(self).__name__)
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Find what can be held; forget what another run held."""
        refuse_own_unscaling(trainer, type(self).__name__)
        self._names = {p: name for name, p in pl_module.named_parameters() if p.requires_grad}
        if self.begins_anew(trainer):
            self.held, self._within = {}, None
        of = {name: p.device for p, name in self._names.items()}
        self.held = {name: [t.to(of[name]) for t in held] for name, held in self.held.items() if name in of}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Note what is held from now on, if a phase has ended."""
        turn = self.turn(trainer)
        if turn is None:
            return
        ended, self._within = self._within, turn.number
        if ended not in (None, turn.number):
            self.hold(trainer, pl_module, ended)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Add the penalty's gradient."""
        for group in optimizer.param_groups if self.strength and self.held else ():
            some = [p for p in group["params"] if p.grad is not None and self._names.get(p) in self.held]
            if some:
                held = [self.held[self._names[p]] for p in some]
                pull(some, self.away([p.detach() for p in some], held, float(group.get("lr", 0.0))), self.strength)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the model."""
        super().teardown(trainer, pl_module, stage)
        self._names = {}

    def state_dict(self) -> dict[str, Any]:
        """Give what is held."""
        return {"held": dict(self.held), "within": self._within}

    def take_back(self, state: dict[str, Any]) -> None:
        """Take back what is held.

        Args:
            state: What `state_dict` gave.
        """
        self.held, self._within = dict(state["held"]), state["within"]


def pull(parameters: Sequence[nn.Parameter], away: list[Tensor] | tuple[Tensor, ...], strength: float) -> None:
    """Add to the gradients, which are there, what draws the parameters back."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        torch._foreach_add_(gradients, away, alpha=strength)


def refuse_cut(trainer: L.Trainer, who: str) -> None:
    """Refuse parameters that are cut over the ranks.

    Raises:
        ValueError: They are.
    """
    if isinstance(trainer.strategy, SHARDED):
        raise ValueError(
            f"{who} must have whole parameters on each rank, got {type(trainer.strategy).__name__}, which cuts them. Use "
            "strategy='ddp'."
        )


def refuse_own_unscaling(trainer: L.Trainer, who: str) -> None:
    """Refuse gradients that the optimizer itself unscales, so that nothing can be added to them.

    Raises:
        ValueError: It does.
    """
    if trainer.scaler is not None and any(map(_unscales, trainer.optimizers)):
        raise ValueError(
            f"The optimizer must leave the unscaling of gradients to the Trainer where {who} adds to them, got a "
            f"fused one with precision={trainer.precision!r}. Make it with fused=False, or use 'bf16-mixed'."
        )


def _unscales(optimizer: Any) -> bool:
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))
