"""Parameters of lower tasks held while higher ones are trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn

from .._checks import require_number
from .._lightning import sampler_of_data
from ..samplers import MultiTaskSampler, Phases
from ..task import LevelledMultiTask, is_levelled
from ._anchored import add_penalty_gradient, refuse_fused_unscaling, refuse_sharded
from ._run_sampler import phase_of, sampler_of
from ._stateful import StatefulCallback

Anchor = Literal["task", "epoch", "average"]


@dataclass(slots=True)
class _Held:
    """A parameter below the level of some task."""

    name: str
    parameter: nn.Parameter
    level: int
    delta: float


class SuccessiveRegularization(StatefulCallback):
    """Hold what lower tasks have learned while a higher one is trained (Hashimoto et al., EMNLP 2017, equations 6 to 10).

    While a task of level k is trained, delta * |theta - theta'|^2 is added to what is minimised, for all parameters of the
    levels below k, including level 0 (embeddings) and what is fed into these levels, and with `head_delta` for the lower
    tasks' own parameters: heads, embeddings of labels, mixes. theta' is the anchor, their earlier value. In a step with
    tasks of several levels, what lies below the lowest of them is held.

    The penalty is no part of the losses that are logged and balanced. Its gradient, 2 * delta * (theta - theta'), is added once in
    each step of the optimizer, after gradients were accumulated, averaged over the ranks and unscaled, before they are clipped.
    It is added only to parameters that have a gradient in a step: AdamW would move a head that is idle in a step, by its momentum
    and decay, for a gradient of zeros too. Parameters without a gradient do not move, bit for bit, wherever their anchor is; so
    with `anchor="epoch"` and "average" an idle head is not drawn back.

    Args:
        delta: How firmly the levels are held; the paper's is 0.001.
        head_delta: How firmly the lower tasks' own layers are held; the paper's is 0.01.
        anchor: Where parameters are held: their values when the training of the task before ended ("task", the paper's), at
            the start of the epoch ("epoch"), or their running average over steps ("average"). "task" needs tasks in turn: with
            a `MultiTaskDataModule`, `Phases` of one source each, and anchors are set with each new phase; with loaders of your
            own they are set where a step trains other tasks than the last one. Before the first switch nothing is held. With
            accumulated batches, the last one decides to which phase a step belongs.
        decay: Share of the running average that stays in each step.

    Raises:
        ValueError: A number out of its range; a model without levels; a schedule without switches from task to task for
            `anchor="task"`; sharded parameters; or gradients that the optimizer itself unscales.

    Example:
        >>> from lightning_mtl.callbacks import SuccessiveRegularization
        >>> from lightning_mtl.samplers import Phase, Phases
        >>> in_turn = Phases([Phase(["pos"], passes=1.0), Phase(["chunk"], passes=1.0)])  # MultiTaskDataModule(..., sampling=in_turn)
        >>> held = SuccessiveRegularization(delta=1e-3)  # L.Trainer(callbacks=[held])
    """

    def __init__(
        self, delta: float = 1e-3, *, head_delta: float = 1e-2, anchor: Anchor = "task", decay: float = 0.999
    ) -> None:
        for name, value in (("delta", delta), ("head_delta", head_delta)):
            require_number(name, value, "0 holds nothing.", at_least=0)
        if anchor not in ("task", "epoch", "average"):
            raise ValueError(f"`anchor` must be 'task', 'epoch' or 'average', got {anchor!r}. The paper's is 'task'.")
        require_number("decay", decay, "0.999 looks back about 1000 steps.", at_least=0, below=1)
        self.delta, self.head_delta, self.anchor, self.decay = delta, head_delta, anchor, decay
        self.anchors: dict[str, Tensor] = {}
        """Anchors of the parameters, by their names."""
        self._last_period: Any = None
        """The phase, tasks or epoch of the last step."""
        self._held: list[_Held] = []

    @property
    def state_key(self) -> str:
        """Keep the state apart from that of other anchors."""
        return self._generate_state_key(anchor=self.anchor)

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Check the model, the strategy and the schedule."""
        if stage != "fit":
            return
        if not is_levelled(pl_module):
            raise ValueError(
                f"SuccessiveRegularization must have a `HierarchicalModule`, got {type(pl_module).__name__}. Give each task its level in one."
            )
        refuse_sharded(trainer, "SuccessiveRegularization")
        sampler = sampler_of_data(trainer)
        if self.anchor == "task" and isinstance(sampler, MultiTaskSampler):
            _refuse_mixed_steps(sampler)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Find the parameters that can be held; remove the anchors of another run."""
        refuse_fused_unscaling(trainer, "SuccessiveRegularization")
        self._held = self._find_held(pl_module)
        if self.starts_new_run(trainer):
            self.anchors, self._last_period = {}, None
        by_name = {held.name: held.parameter for held in self._held}
        self.anchors = {
            name: anchor.to(by_name[name].device) for name, anchor in self.anchors.items() if name in by_name
        }

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Set anchors that are due, and add the penalty's gradient."""
        tasks = pl_module.loss_over_ranks.tasks_of_step()
        self._update_anchors(trainer, tasks)
        lowest = min((pl_module.hierarchy.top[task] for task in tasks), default=0)
        for delta in {held.delta for held in self._held if held.delta}:
            below = [held for held in self._held if held.delta == delta and held.level < lowest]
            below = [held for held in below if held.parameter.grad is not None and held.name in self.anchors]
            if below:
                now = [held.parameter.detach() for held in below]
                away = torch._foreach_sub(now, [self.anchors[held.name] for held in below])
                add_penalty_gradient([held.parameter for held in below], away, 2 * delta)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn if tasks do not come in turn; with loaders of the user's own that is known only now."""
        if self.anchor == "task" and not self.anchors and trainer.current_epoch == 0 and sampler_of(trainer) is None:
            warnings.warn(
                "All steps of the first epoch trained the same tasks, so that SuccessiveRegularization held nothing: train tasks in turn, or "
                "use anchor='epoch'.",
                stacklevel=1,
            )

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Release the model."""
        super().teardown(trainer, pl_module, stage)
        self._held = []

    def state_dict(self) -> dict[str, Any]:
        """Return the anchors."""
        return {"anchors": dict(self.anchors), "within": self._last_period}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore the anchors.

        Args:
            state: What `state_dict` returned.
        """
        self.anchors, self._last_period = dict(state["anchors"]), state["within"]

    # Anchors

    def _find_held(self, module: LevelledMultiTask) -> list[_Held]:
        top = max(module.hierarchy.top)
        names = {parameter: name for name, parameter in module.named_parameters() if parameter.requires_grad}
        trunk, own = module.levels_of_parameters()
        return [
            _Held(names[p], p, level, delta)
            for levels, delta in ((trunk, self.delta), (own, self.head_delta))
            for p, level in levels.items()
            if level < top and p in names
        ]

    def _update_anchors(self, trainer: L.Trainer, tasks: Iterable[int]) -> None:
        if self.anchor == "average" and self.anchors:
            self._average()
            return
        period = self._period(trainer, tasks)
        due = self._last_period is not None or self.anchor != "task"
        if period != self._last_period and due:
            self.anchors = {held.name: held.parameter.detach().clone() for held in self._held}
        self._last_period = period

    def _period(self, trainer: L.Trainer, tasks: Iterable[int]) -> Any:
        """Return the phase, the tasks or the epoch of a step; equal on all ranks."""
        if self.anchor != "task":
            return trainer.current_epoch
        sampler = sampler_of(trainer)
        return phase_of(sampler) if sampler is not None else sorted(tasks) or self._last_period

    def _average(self) -> None:
        anchored = [held for held in self._held if held.name in self.anchors]
        if anchored:
            now = [held.parameter.detach() for held in anchored]
            torch._foreach_lerp_([self.anchors[held.name] for held in anchored], now, 1 - self.decay)


def _refuse_mixed_steps(sampler: MultiTaskSampler) -> None:
    rule = sampler.rule
    if not isinstance(rule, Phases) or not rule.in_turn(sampler.signals):
        raise ValueError(
            f"`anchor` must be 'epoch' or 'average' where tasks don't come in turn, got 'task' with batches={sampler.batches!r} by {rule}. "
            "Or train one source after the other: sampling=Phases([Phase([source], passes=1.0), ...])."
        )
