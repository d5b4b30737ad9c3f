"""What callbacks that hold parameters at an anchor have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from .._checks import require_number
from .._distributed import SHARDED
from ..task import MultiTask
from ._phased import PhasedCallback
from ._stateful import StatefulCallback


class Anchored(PhasedCallback, StatefulCallback):
    """The base of callbacks that draw parameters back to where earlier phases left them.

    When a phase ends, `hold` sets the anchors. The gradient of the penalty is added once in each step of the optimizer: after
    gradients were accumulated, averaged over the ranks and unscaled, before they are clipped, and only to parameters that have one.

    Args:
        strength: Factor of the penalty.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        require_number("strength", strength, "0 holds nothing.", at_least=0)
        self.strength = strength
        self.held: dict[str, list[Tensor]] = {}
        """Anchors of the parameters, by their names."""
        self._last_phase: int | None = None
        """The phase of the last step."""
        self._names: dict[nn.Parameter, str] = {}

    @abstractmethod
    def hold(self, trainer: L.Trainer, module: MultiTask, ended: int) -> None:
        """Set the anchors for the steps to come.

        Args:
            trainer: The Trainer.
            module: The model.
            ended: Number of the phase that has ended.
        """

    @abstractmethod
    def away(self, now: list[Tensor], held: list[list[Tensor]], rate: float) -> list[Tensor]:
        """Return the penalty's gradient for a strength of 1, for one parameter after the other.

        Args:
            now: The parameters.
            held: The anchor of each.
            rate: The optimizer's learning rate for them.
        """

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Check that the run has phases, and whole parameters on each rank."""
        if stage == "fit":
            refuse_sharded(trainer, type(self).__name__)
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Find the parameters that can be held; remove the anchors of another run."""
        refuse_fused_unscaling(trainer, type(self).__name__)
        self._names = {p: name for name, p in pl_module.named_parameters() if p.requires_grad}
        if self.starts_new_run(trainer):
            self.held, self._last_phase = {}, None
        devices = {name: p.device for p, name in self._names.items()}
        self.held = {name: [t.to(devices[name]) for t in held] for name, held in self.held.items() if name in devices}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Set the anchors if a phase has ended."""
        phase = self.current_phase(trainer)
        if phase is None:
            return
        ended, self._last_phase = self._last_phase, phase.number
        if ended not in (None, phase.number):
            self.hold(trainer, pl_module, ended)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Add the penalty's gradient."""
        for group in optimizer.param_groups if self.strength and self.held else ():
            some = [p for p in group["params"] if p.grad is not None and self._names.get(p) in self.held]
            if some:
                held = [self.held[self._names[p]] for p in some]
                add_penalty_gradient(
                    some, self.away([p.detach() for p in some], held, float(group.get("lr", 0.0))), self.strength
                )

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the model."""
        super().teardown(trainer, pl_module, stage)
        self._names = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the anchors."""
        return {"held": dict(self.held), "within": self._last_phase}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore the anchors.

        Args:
            state: What `state_dict` returned.
        """
        self.held, self._last_phase = dict(state["held"]), state["within"]


def add_penalty_gradient(
    parameters: Sequence[nn.Parameter], away: list[Tensor] | tuple[Tensor, ...], strength: float
) -> None:
    """Add a penalty's gradient to those of the parameters.

    Args:
        parameters: The parameters, each with a gradient.
        away: The penalty's gradient of each, for a strength of 1.
        strength: Factor of the penalty.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        torch._foreach_add_(gradients, away, alpha=strength)


def refuse_sharded(trainer: L.Trainer, who: str) -> None:
    """Check that parameters are not sharded.

    Raises:
        ValueError: They are.
    """
    if isinstance(trainer.strategy, SHARDED):
        raise ValueError(
            f"{who} must have whole parameters on each rank, got {type(trainer.strategy).__name__}, which shards them. Use "
            "strategy='ddp'."
        )


def refuse_fused_unscaling(trainer: L.Trainer, who: str) -> None:
    """Check that gradients are unscaled before the optimizer gets them, so that something can be added to them.

    Raises:
        ValueError: The optimizer unscales them itself.
    """
    if trainer.scaler is not None and any(map(_unscales, trainer.optimizers)):
        raise ValueError(
            f"The optimizer must leave the unscaling of gradients to the Trainer where {who} adds to them, got a "
            f"fused one with precision={trainer.precision!r}. Make it with fused=False, or use 'bf16-mixed'."
        )


def _unscales(optimizer: Any) -> bool:
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))
