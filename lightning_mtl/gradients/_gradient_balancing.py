"""A gradient balancer in a training step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor

from .._distributed import own_group, sum_dtype, sum_over_ranks, world_size
from .._lightning import accumulation_of, skips_backward, synchronize_gradients
from ..balancers import GradientBalancer
from ._balance import Balance, joined
from ._balancer_state import balancer_state, load_balancer_state, seed_balancer
from ._cut import Cut, entries_of
from ._measuring import Measuring, Scope
from ._observed_losses import Losses, Moment, ObservedLosses, mean_losses
from ._parameter_gradients import ParameterGradients
from ._pending_losses import PendingLosses
from ._scope import refuse_accumulation, refuse_frozen_encoder, refuse_lone_tasks, refuse_scope, scope_for
from ._step import Step
from ._step_balance import BalancedModule, StepBalance
from ._task_weights import TaskWeights


class GradientBalancing(StepBalance):
    """Measures the tasks' gradients at the scope, and weighs them; README.md of this package describes the order of a step.

    Args:
        balancer: The balancer.
        count: Number of tasks.
        measuring: How the Gramian is measured.
        levels: In a hierarchy, what is weighed at each level.
    """

    def __init__(self, balancer: GradientBalancer, count: int, measuring: Measuring, levels: Any = None) -> None:
        self.balancer = balancer
        self.levels = levels
        self.measuring = measuring
        self._scope = measuring.given_scope
        self.by_level = levels is not None and self._scope == "representation"
        """Whether gradients are weighed level by level."""
        self.count = len(levels.names) if self.by_level else count
        self.weights = TaskWeights(balancer, self.count, self._note)
        self._observed = ObservedLosses(balancer, levels.extended if self.by_level else None)
        self._balance: Balance | None = None
        self._losses: list[Losses] = []
        """The losses of the batches that make an optimizer step."""
        self._present: Sequence[int] = ()
        """The tasks of this step, on any rank."""
        self._had_two_tasks = False
        """Whether a step had labels for two tasks."""
        self._measures = True
        """Whether this step measures."""
        self._idle = False
        """Whether no shared parameter is trained."""
        self._records_layers = False
        """Whether inputs and outputs of linear layers are recorded."""
        self._cut: Cut | None = None
        self._pending: PendingLosses | None = None
        self._parameters = ParameterGradients(self.count, measuring)

    @property
    def scope(self) -> Scope | None:
        """Where gradients are measured, as far as it is known."""
        return self._scope

    @property
    def cut(self) -> Cut | None:
        """Where the shared part of the running step ends."""
        return self._cut

    # Around training

    def build(self, names: Sequence[str]) -> None:
        """Initialise the balancer's state for the tasks, or for all that is weighed at levels."""
        self.balancer.build(self.levels.names if self.by_level else names)

    def prepare(self, module: BalancedModule, trainer: L.Trainer) -> None:
        """Check strategy and data before the strategy wraps the model.

        Raises:
            ValueError: They do not fit the balancer or its scope.
        """
        seed_balancer(self.balancer)
        refuse_accumulation(self.measuring, accumulation_of(trainer))
        refuse_frozen_encoder(module, trainer)
        self._scope = self.measuring.given_scope
        data: Any = getattr(trainer, "datamodule", None)
        one_source = getattr(data, "batches", "all") == "homogeneous"
        if self._scope is None and module.routing.fed:
            self._scope = scope_for(
                module, levels=self.levels is not None, one_source=one_source, sources=list(data.sources)
            )
        refuse_scope(self._scope, self.measuring, module, trainer)
        if module.routing.fed:
            refuse_lone_tasks(module, self._scope, list(data.sources), one_source=one_source)
        if world_size() > 1 and self.weights.group is None:
            self.weights.group = own_group()

    def start(self) -> None:
        """Forget an earlier fit."""
        self.stop()
        self._observed.batches, self._had_two_tasks = [], False

    def stop(self) -> None:
        """Release the tensors of a step: training is over, or a step failed."""
        self._parameters.release()
        self._cut = self._pending = None
        self._losses, self.weights.overflowed = [], False

    def end_epoch(self, epoch: int) -> None:
        """Warn after a first epoch in which no step had two tasks."""
        if not self._had_two_tasks and epoch == 0:
            warnings.warn(
                "No step of the first epoch had labels for two tasks, so there were no gradients to balance: leave `balancer` out, or "
                "put rows of several tasks into a step.",
                stacklevel=1,
            )

    # Before and in the forward pass

    def begin(self, module: BalancedModule, trainer: L.Trainer, batch: Mapping[str, Any]) -> None:
        """Decide what is measured in this batch, before the strategy sees it."""
        if self._scope is None:
            module.routing.bind_batch(batch)
            sources = [name for name, part in batch.items() if part is not None]
            self._scope = scope_for(module, levels=self.levels is not None, one_source=False, sources=sources)
            refuse_scope(self._scope, self.measuring, module, trainer)
        if not skips_backward(trainer):
            refuse_accumulation(self.measuring, trainer.accumulate_grad_batches)
        self._parameters.batches = trainer.accumulate_grad_batches
        if not self._parameters.window:
            self._losses = []
        due = trainer.global_step % self.measuring.refresh_every == 0 or self.weights.overflowed
        self._measures = due or bool(self.weights.latest.isnan().all())
        if self._scope == "parameters":
            self._parameters.find(module)
        self._idle = not any(p.requires_grad for p in module.encoder.parameters())
        # The Gramian of gradients that are summed over ranks or batches cannot be found layer by layer.
        layerwise = not (self._parameters.compiled or module.carries_gradients)
        self._records_layers = (
            self._by_rows and world_size() == 1 and trainer.accumulate_grad_batches == 1 and layerwise
        )
        synchronize_gradients(trainer.strategy, not self._by_rows)  # rows are reduced here

    @property
    def _by_rows(self) -> bool:
        """Whether the gradient of this step is computed from one row for each task."""
        two_passes = self.measuring.sketch or self.measuring.gradient_memory
        return self._measures and self._scope == "parameters" and not two_passes and not self._idle

    @contextmanager
    def forward_pass(self) -> Iterator[None]:
        """Make the cut of a step; there is none where its gradient is computed from rows."""
        self._open()
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def _open(self) -> None:
        measures = self._measures and self._scope == "representation"
        if self._by_rows or self._idle:
            self._cut = None
        elif self.levels is not None:
            self._cut = self.levels.cuts(self.by_level, self._weights_at_level if measures else None)
            self._balance = None
        else:
            measure = self._weights_at_cut if measures else None
            self._cut = Cut(self.count, measure, heads=self.measuring.weight_heads)
        if self._records_layers:
            self._parameters.rows.record_layers()

    def stack(self, step: Step, device: torch.device) -> Tensor:
        """Return the losses of a step as one tensor, from which its loss is computed."""
        cut, self._cut = self._cut, None
        if self._records_layers:
            self._parameters.rows.choose_layers(len(step.results))
        stacked = super().stack(step, device)
        if self._idle:
            return stacked
        if cut is None:
            stacked = stacked.detach().requires_grad_()
            # In half precision the square of a scale is infinite.
            unit = torch.ones((), dtype=sum_dtype(stacked.device), device=stacked.device, requires_grad=True)
        else:
            unit = cut.checked_unit(step)
        self._pending = PendingLosses(cut, step.losses, step.tasks, stacked, unit, step.needs_graph())
        return stacked

    def total(self, losses: Tensor, tasks: Sequence[int], means: Tensor, present: Sequence[int], at: Moment) -> Tensor:
        """Return the sum of the losses, whose gradients are weighed in the backward pass."""
        self._had_two_tasks |= len(present) > 1
        self._observed.add(present, means, at)
        pending = self._pending
        self._present = present
        self.weights.begin(again=at.again)
        if not at.again:
            self._losses.append((present, means))
        if pending is None:
            return losses.sum()
        if pending.cut is not None:
            losses = pending.cut.weighed(losses, pending.tasks)
            if not self._measures:
                pending.cut.weigh(self.weights.known(losses.device))
                if present:
                    self._note(present, None)
        return losses.sum() + (pending.unit - pending.unit.detach()).to(losses.dtype)

    # The backward pass

    def backward(self, loss: Tensor, run: Callable[..., None], at: Moment, *args: Any, **options: Any) -> None:
        """Run the backward pass, or two; see `StepBalance`."""
        pending, self._pending = self._pending, None
        if pending is None:
            torch.autograd.backward(loss, **options)
        elif pending.cut is None:
            self._parameters.fill(loss, pending, self._present)
            if at.last:
                gramian = self._parameters.gramian_of_rows()
                self._parameters.set_gradients(self.weights.ask(gramian, sorted(self._parameters.window)))
        else:
            if self._measures:
                self._measure_first(loss, pending.cut, pending)
            torch.autograd.backward(loss, **options)
            pending.cut.close()

    def _measure_first(self, loss: Tensor, cut: Cut, pending: PendingLosses) -> None:
        """Find the weights before the backward pass, where it does not find them itself."""
        if self._scope == "parameters":
            cut.weigh(self.weights.ask(self._parameters.measure(loss, pending), self._present))
        elif cut.heads:
            torch.autograd.grad(loss, cut.shared, retain_graph=True)

    def _weights_at_cut(self, gramian: Tensor, unit: Tensor) -> Tensor:
        """Return the weights for the gradients of the features; ranks have other examples, so their Gramians are added up."""
        wide = gramian.to(sum_dtype(gramian.device)) / (unit.to(sum_dtype(unit.device)) * world_size()) ** 2
        return self.weights.ask(sum_over_ranks(wide, self.weights.group).to(gramian.dtype), self._present)

    def _weights_at_level(self, level: int, gramian: Tensor, unit: Tensor) -> Tensor:
        """Return the weights at a level of a hierarchy; all ranks call it for higher levels first."""
        tasks, self._present = self._present, self.levels.present(level, self._present)
        try:
            return self._weights_at_cut(gramian, unit)
        finally:
            self._present = tasks

    def _note(self, present: Sequence[int], gramian: Tensor | None) -> None:
        """Record how the step was balanced."""
        names = tuple(self.balancer.names[task] for task in present)
        tasks, losses = mean_losses(self._losses)
        if self.by_level:
            tasks, losses = self.levels.extended(tasks, losses)
            losses = torch.stack([losses[tasks.index(task)] for task in present])
        note = Balance(names, losses, entries_of(self.weights.latest, present), gramian)
        self._balance = note if not self.by_level or self._balance is None else joined(note, self._balance)

    def latest(self) -> Balance | None:
        """Return how the last step was balanced."""
        return self._balance

    def state(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return the seed of the balancer, and the latest weights."""
        return {**balancer_state(self.balancer, tasks), **self.weights.state()}

    def load_state(self, state: Mapping[str, Any], tasks: Sequence[str]) -> None:
        """Resume with the seed and the weights of a checkpoint."""
        load_balancer_state(self.balancer, state, tasks)
        self.weights.load_state(state)
