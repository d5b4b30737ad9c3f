"""What a module does with its balancer, step by step."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch._functorch.config as functorch
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from .._distributed import as_first_rank, own_group, sum_dtype, sum_over_ranks, world_size
from ..balancers import Balancer, FromGramian, GradientBalancer, Weighting
from ._cut import Cut, Rows, Sketch, chosen, gradients_of, pieces, wide_type
from ._per_task import ExactGradients

Scope = Literal["representation", "parameters"]


@dataclass(frozen=True)
class Balance:
    """How a step was balanced.

    Args:
        tasks: Names of the tasks that were there.
        losses: Their losses, times `Task.weight`, averaged over the ranks.
        weights: What each was multiplied by: the loss, or the gradient.
        gramian: Inner products of their gradients, of the features or of the shared parameters, on the CPU. None where the
            balancer looks at losses, and in steps that `refresh_every` leaves out.
    """

    tasks: tuple[str, ...]
    losses: Tensor
    weights: Tensor
    gramian: Tensor | None = None

    @property
    def norms(self) -> Tensor | None:
        """The norm of each task's gradient; None where there is no Gramian."""
        return None if self.gramian is None else self.gramian.diagonal().sqrt()

    @property
    def cosines(self) -> Tensor | None:
        """The cosine between each two tasks' gradients; below 0 they conflict. None where there is no Gramian."""
        if self.gramian is None:
            return None
        norms = self.gramian.diagonal().sqrt()
        return self.gramian / (norms[:, None] * norms)


@dataclass(frozen=True)
class Measuring:
    """How a gradient balancer gets its Gramian; see `MultiTaskModule`."""

    scope: Scope | None = None
    weight_heads: bool = False
    refresh_every: int = 1
    sketch: int | None = None
    gradient_memory: float | None = None

    @property
    def given_scope(self) -> Scope | None:
        """The scope that is asked for; None if it follows from the data."""
        return "parameters" if self.sketch or self.gradient_memory else self.scope

    def refuse(self, balancer: Any) -> None:
        """Look whether these go together, and with the balancer.

        Raises:
            ValueError: They do not.
            TypeError: The balancer is none.
        """
        if balancer is not None and not callable(balancer):
            raise TypeError(
                f"`balancer` must be a Balancer or a function from a Gramian to weights, got {balancer!r}. Use one of "
                "lightning_mtl.balancers, e.g. PCGrad()."
            )
        if isinstance(balancer, type):
            raise TypeError(f"`balancer` must be an object, got the class. Make it: {balancer.__name__}().")
        self._refuse_values()
        gradients = isinstance(balancer, GradientBalancer) or (balancer and not isinstance(balancer, Balancer))
        given = [name for name, default in _DEFAULTS.items() if getattr(self, name) != default]
        if given and not gradients:
            raise ValueError(
                f"`{given[0]}` must be left out without a gradient balancer, got {getattr(self, given[0])!r} with balancer="
                f"{balancer!r}. Give one, e.g. balancer=PCGrad()."
            )

    def _refuse_values(self) -> None:
        if self.scope not in (None, "representation", "parameters"):
            raise ValueError(f"`scope` must be 'representation' or 'parameters', got {self.scope!r}.")
        for name in ("refresh_every", "sketch"):
            value = getattr(self, name)
            if value is not None and (value < 1 or value != int(value)):
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        if self.gradient_memory is not None and self.gradient_memory <= 0:
            raise ValueError(f"`gradient_memory` must be above 0, got {self.gradient_memory!r}.")
        if self.scope == "representation" and (self.sketch or self.gradient_memory):
            name = "sketch" if self.sketch else "gradient_memory"
            raise ValueError(
                f"`{name}` must go with scope='parameters', got scope='representation'. Leave it out there."
            )
        if self.sketch and self.gradient_memory:
            raise ValueError(
                "`gradient_memory` must be left out with `sketch`, which holds one gradient at a time, got both."
            )


def _joined(lower: Balance, upper: Balance) -> Balance:
    """Join what was weighed at a level to what was at those above; inner products between them were not measured."""
    parts = [of.gramian for of in (lower, upper) if of.gramian is not None]
    gramian = torch.block_diag(*parts) if len(parts) == 2 else None  # type: ignore[no-untyped-call]
    if gramian is not None:
        count = len(lower.tasks)
        gramian[:count, count:] = gramian[count:, :count] = torch.nan
    losses, weights = torch.cat([lower.losses, upper.losses]), torch.cat([lower.weights, upper.weights])
    return Balance(lower.tasks + upper.tasks, losses, weights, gramian)


_DEFAULTS = {name: getattr(Measuring(), name) for name in Measuring.__dataclass_fields__}


def own_balancer(balancer: Balancer | Weighting | None) -> Balancer | None:
    """Make a module's own balancer: a copy, or one of a function."""
    if balancer is None or isinstance(balancer, Balancer):
        return copy.deepcopy(balancer)
    return FromGramian(copy.deepcopy(balancer))


def balance_of(balancer: Balancer, losses: Tensor, tasks: Sequence[int]) -> Balance:
    """Tell how a loss balancer weighs these losses."""
    with torch.enable_grad():
        leaf = losses.detach().requires_grad_()
        (weights,) = torch.autograd.grad(balancer(leaf, tasks), leaf) if len(tasks) else (losses,)
    return Balance(tuple(balancer.names[task] for task in tasks), losses, weights)


@dataclass(slots=True)
class _Pending:
    """What a step left for its backward pass."""

    cut: Cut | None
    losses: list[Tensor]
    tasks: Sequence[int]
    stacked: Tensor
    unit: Tensor
    keep: Sequence[bool]


class GradientBalancing:
    """Measures the tasks' gradients where `scope` says, and weighs them.

    At the representation the gate does it all within the one backward pass. For the parameters there are two ways: rows of
    gradients, of which the gradient is made (exact, no second backward pass); or two passes, of which the first measures
    (in pieces that fit, or by a sketch) and the second is an ordinary backward pass, in which the gate weighs.
    """

    def __init__(self, balancer: Any, count: int, measuring: Measuring, levels: Any = None) -> None:
        self.balancer: GradientBalancer = balancer
        self.levels = levels
        """Of a hierarchy, what is weighed at each level."""
        self.measuring = measuring
        self.scope = measuring.given_scope
        self.by_level = levels is not None and self.scope == "representation"
        """Whether it is weighed level by level."""
        self.count = len(levels.names) if self.by_level else count
        self.weights = torch.full((self.count,), torch.nan, dtype=torch.float64)
        """The latest weight of each task."""
        self._balance: Balance | None = None
        self._losses: list[tuple[Sequence[int], Tensor]] = []
        """Tasks and losses of the batches that make a step of the optimizer."""
        self._again = False
        """Whether the last step was not finite, and told no weights."""
        self._present: Sequence[int] = ()
        """The tasks of this step, on any rank."""
        self.cut: Cut | None = None
        """The cut of the training step that is running."""
        self._accumulated = 1
        self._group: Any = None
        self._measures = True
        self._window: set[int] = set()
        self._pending: _Pending | None = None
        self._exact: Any = None
        self._taken: list[int] = []
        self._streams = self._compiled = self._idle = False
        self._sketch: Sketch | None = None
        self._shared: list[nn.Parameter] = []

    def balance(self) -> Balance | None:
        """Tell how the last step was balanced; None before the first one."""
        return self._balance

    def _note(self, present: Sequence[int], gramian: Tensor | None) -> None:
        names = tuple(self.balancer.names[task] for task in present)
        tasks, losses = mean_losses(self._losses)
        if self.by_level:
            tasks, losses = self.levels.extended(tasks, losses)
            losses = torch.stack([losses[tasks.index(task)] for task in present])
        note = Balance(names, losses, chosen(self.weights, present), gramian)
        self._balance = note if not self.by_level or self._balance is None else _joined(note, self._balance)

    def reset(self) -> None:
        """Forget what an earlier fit, or a step that failed, has left."""
        if self._exact is not None:
            self._exact.silence()
        self._exact = self._sketch = self._pending = self.cut = None
        self._taken, self._window, self._losses, self._again = [], set(), [], False

    # Before training

    def prepare(self, module: Any) -> None:
        """Look at strategy and data before the strategy wraps the model.

        Raises:
            ValueError: They do not go with the balancer or its scope.
        """
        trainer, measuring = module.trainer, self.measuring
        self._refuse_accumulation(trainer.accumulate_grad_batches)
        unfrozen = any(isinstance(callback, BaseFinetuning) for callback in trainer.callbacks)
        known = list(module.encoder.parameters())  # some are made later, of the data
        if known and not unfrozen and not any(p.requires_grad for p in known):
            raise ValueError(
                "`balancer` must find shared parameters that are trained, got an encoder that is frozen. Leave the balancer out."
            )
        self.scope = measuring.given_scope
        data: Any = getattr(trainer, "datamodule", None)
        if self.scope is None and module.routing.fed:
            self._settle(module, getattr(data, "batches", "all") == "homogeneous", list(data.sources))
        self._refuse_scope(module)
        if module.routing.fed:
            alone = all(len(module.routing.reads(name)) < 2 for name in data.sources)
            if alone and getattr(data, "batches", "all") == "homogeneous":
                self._refuse_lone_tasks(list(data.sources))
            elif alone and self.scope == "representation":
                warnings.warn(
                    "No two tasks read the same examples: at the representation their gradients have nothing in common, and only "
                    "their lengths count. scope='parameters' measures angles too.",
                    stacklevel=2,
                )
        if world_size() > 1 and self._group is None:
            self._group = own_group()

    def _settle(self, module: Any, one_source: bool, sources: Sequence[str]) -> None:
        """Choose the scope: the representation, where the tasks of a step read one representation of the same examples."""
        read = [name for name in sources if module.routing.reads(name)]
        one = self.levels is None and module.encoder.shares_features and (one_source or len(read) == 1)
        self.scope = "representation" if one else "parameters"

    def _refuse_scope(self, module: Any) -> None:
        strategy = type(module.trainer.strategy).__name__
        if self.scope == "parameters" and module.sharded:
            raise ValueError(
                f"`scope` must be 'representation' where parameters are cut over the ranks ({strategy}), got "
                f"{self.measuring.scope or 'parameters (chosen, since tasks read different features)'!r}. Give scope='representation'."
            )
        if "DeepSpeed" in strategy and (self.scope == "parameters" or self.measuring.weight_heads):
            raise ValueError(
                f"`scope` must be 'representation', and `weight_heads` false, under {strategy}, which runs a backward pass of its own, got "
                f"{self.scope!r} and {self.measuring.weight_heads}."
            )

    def _refuse_lone_tasks(self, sources: Sequence[str]) -> None:
        raise ValueError(
            f"`balancer` must find two tasks in a step to balance their gradients, got steps of a single one: each holds one of the "
            f"sources {list(sources)}. Use MultiTaskDataModule(batches='all'), or a loss balancer."
        )

    def _refuse_accumulation(self, batches: int) -> None:
        if self.measuring.gradient_memory and batches != 1:
            raise ValueError(
                "`gradient_memory` must be left out with accumulation, for which gradients are held from batch to batch, got "
                f"accumulate_grad_batches={batches}. Leave one of them out."
            )

    def _take(self, module: Any) -> None:
        """Take the parameters that are trained: the shared ones, those of each task, and all there are."""
        every = [p for p in module.parameters() if p.requires_grad]
        if [id(p) for p in every] == self._taken:
            return
        self._taken = [id(p) for p in every]
        shared = module.shared()
        self._shared = [p for p in shared.parameters() if p.requires_grad]
        self._sketch = None
        self._exact = ExactGradients(shared, self._own(module, every), every, weight_heads=self.measuring.weight_heads)
        self._compiled = any(map(_is_compiled, module.modules()))
        if self._compiled:  # its graph is run more than once
            functorch.donated_buffer = False

    def _own(self, module: Any, every: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
        """Give for each task the parameters that its loss moves beside the shared ones."""
        own = [[*module.heads[task.name].parameters(), *_parameters(module.losses, task.name)] for task in module.tasks]
        of_tasks = [[p for other in sorted(module.moved_by(i)) for p in own[other]] for i in range(len(own))]
        shared = {id(p) for p in self._shared}  # a head may be tied to them
        known = shared | {id(p) for of in of_tasks for p in of}
        rest = [p for p in every if id(p) not in known]  # what a subclass added: each task's gradient is its own
        return [[p for p in of if p.requires_grad and id(p) not in shared] + rest for of in of_tasks]

    # In a step

    def begin(self, module: Any, batch: Any) -> None:
        """Decide what this batch is for, before the strategy sees it."""
        trainer = module.trainer
        if self.scope is None:
            module.routing.settle(batch)
            self._settle(module, False, [name for name, part in batch.items() if part is not None])
            self._refuse_scope(module)
        self._refuse_accumulation(trainer.accumulate_grad_batches)
        self._accumulated = trainer.accumulate_grad_batches
        if not self._window:
            self._losses = []
        due = trainer.global_step % self.measuring.refresh_every == 0 or self._again
        self._measures = due or bool(self.weights.isnan().all())
        if self.scope == "parameters" and not self._window:
            self._take(module)
        self._idle = not any(p.requires_grad for p in module.encoder.parameters())
        # Gramians of averaged or summed gradients need the gradients.
        apart = not (self._compiled or module.carries_gradients)
        self._streams = self._by_rows and world_size() == 1 and self._accumulated == 1 and apart
        if isinstance(trainer.strategy, DDPStrategy):
            ddp: Any = trainer.strategy.model
            ddp.require_backward_grad_sync = not self._by_rows  # rows are added up here

    @property
    def _by_rows(self) -> bool:
        two_passes = self.measuring.sketch or self.measuring.gradient_memory
        return self._measures and self.scope == "parameters" and not two_passes and not self._idle

    def open(self) -> None:
        """Make the cut of a training step; none where gradients are made out of rows."""
        measures = self._measures and self.scope == "representation"
        if self._by_rows or self._idle:
            self.cut = None
        elif self.levels is not None:
            self.cut = self.levels.cuts(self.by_level, self._at_level if measures else None)
            self._balance = None
        else:
            measure = self._at_the_gate if measures else None
            self.cut = Cut(self.count, measure, heads=self.measuring.weight_heads)
        if self._streams:
            self._exact.open()

    def enter(self, step: Any) -> Tensor:
        """Take the losses of a step, and give them as one tensor, of which the step is to make its loss."""
        cut, self.cut = self.cut, None
        if self._streams:
            self._exact.close(len(step.tasks))
        like = torch.zeros(()) if step.features is None else step.features
        stacked = torch.stack(step.losses) if step.losses else like.new_zeros(0)
        if self._idle:
            return stacked
        if cut is None:
            stacked = stacked.detach().requires_grad_()
            # In half precision the square of a scale is infinite.
            unit = torch.ones((), dtype=sum_dtype(like.device), device=like.device, requires_grad=True)
        else:
            unit = self._unit(cut, step)
        self._pending = _Pending(cut, step.losses, step.tasks, stacked, unit, step.kept())
        return stacked

    def _unit(self, cut: Cut, step: Any) -> Tensor:
        """Give the cut's one, once the features have been led through it."""
        if cut.unit is None:
            raise ValueError(
                "`run` must lead the features through `self.cut` where there is one, got a step that did not. Call super().run(batch), "
                "or features = self.cut.gated(features)."
            )
        if cut.measure is not None and step.passes and len(cut.shared) > max(step.passes) + 1:
            raise ValueError(
                "`scope` must be 'parameters' where the encoder gives each task features of its own, got 'representation'. Give "
                "scope='parameters'."
            )
        return cut.unit

    def total(self, losses: Tensor, present: Sequence[int], means: Tensor) -> Tensor:
        """Add up the losses, of which `present` are there on any rank."""
        pending = self._pending
        self._present = present
        self._losses.append((present, means))
        if pending is None:
            return losses.sum()
        if pending.cut is not None:
            losses = pending.cut.weighed(losses, pending.tasks)
            if not self._measures:
                pending.cut.weigh(self._known(losses.device))
                if present:
                    self._note(present, None)
        return losses.sum() + (pending.unit - pending.unit.detach()).to(losses.dtype)

    def backward(self, loss: Tensor, *, last: bool, **options: Any) -> None:
        """Run the backward pass.

        Args:
            loss: The loss of the step.
            last: Whether an optimizer step follows.
            options: For `Tensor.backward`.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            torch.autograd.backward(loss, **options)
        elif pending.cut is None:
            self._back_by_rows(loss, pending, last)
        else:
            self._measure_first(loss, pending.cut, pending)
            torch.autograd.backward(loss, **options)
            pending.cut.close()

    def _measure_first(self, loss: Tensor, cut: Cut, pending: _Pending) -> None:
        """Find the weights before the backward pass, where they do not come within it."""
        if not self._measures:
            return
        if self.scope == "parameters":
            self._measure_parameters(loss, cut, pending)
        elif cut.heads:
            torch.autograd.grad(loss, cut.shared, retain_graph=True)

    # At the representation

    def _at_the_gate(self, gramian: Tensor, unit: Tensor) -> Tensor:
        """Weigh the gradients of the features; examples on other ranks are other coordinates, so Gramians add up."""
        wide = gramian.to(sum_dtype(gramian.device)) / (unit.to(sum_dtype(unit.device)) * world_size()) ** 2
        return self._weigh(sum_over_ranks(wide, self._group).to(gramian.dtype), self._present)

    def _at_level(self, level: int, gramian: Tensor, unit: Tensor) -> Tensor:
        """Weigh what meets at a level of a hierarchy; gates of higher levels come first, on all ranks."""
        there, self._present = self._present, self.levels.present(level, self._present)
        try:
            return self._at_the_gate(gramian, unit)
        finally:
            self._present = there

    # Of the parameters

    def _back_by_rows(self, loss: Tensor, pending: _Pending, last: bool) -> None:
        torch.autograd.backward(loss)
        scales, unit, exact = pending.stacked.grad, pending.unit.grad, self._exact
        assert scales is not None
        assert unit is not None
        assert exact is not None
        exact.fill(pending.losses, pending.tasks, scales, pending.keep)
        self._window.update(self._present)
        if last:
            gramian = exact.gramian()
            gramian = (gramian / (unit * self._accumulated) ** 2).to(gramian.dtype)
            exact.hand_over(self._weigh(gramian, sorted(self._window)))
            self._window.clear()

    def _measure_parameters(self, loss: Tensor, cut: Cut, pending: _Pending) -> None:
        scales, unit = torch.autograd.grad(loss, (pending.stacked, pending.unit), retain_graph=True)
        gramian = self._sketched(pending, scales) if self.measuring.sketch else self._in_pieces(pending, scales)
        wide = gramian / unit.to(sum_dtype(unit.device)) ** 2
        cut.weigh(self._weigh(wide.to(wide_type(self._shared[0].dtype)), self._present))

    def _sketched(self, pending: _Pending, scales: Tensor) -> Tensor:
        size = self.measuring.sketch
        assert size is not None
        if self._sketch is None:
            self._sketch = Sketch(self._shared, size, seed=0)
        sums = torch.zeros(self.count, size, dtype=wide_type(self._shared[0].dtype), device=scales.device)
        wanted, keep = [self._shared] * len(pending.tasks), [True] * len(pending.tasks)
        for task, gradients in zip(pending.tasks, gradients_of(pending.losses, scales, wanted, keep), strict=True):
            sums[task] = self._sketch(gradients)
        sums = (sum_over_ranks(sums) / world_size()).to(sum_dtype(scales.device))
        return sums @ sums.T

    def _in_pieces(self, pending: _Pending, scales: Tensor) -> Tensor:
        """Add up the Gramians of pieces of the parameters, each with gradients that fit into the memory allowed."""
        memory = self.measuring.gradient_memory
        assert memory is not None
        limit = memory * sum(p.numel() for p in self._shared) / self.count
        total = torch.zeros(self.count, self.count, dtype=sum_dtype(scales.device), device=scales.device)
        keep = [True] * len(pending.tasks)
        for piece in pieces(self._shared, limit):
            rows = Rows(piece, self.count, piece[0])
            each = gradients_of(pending.losses, scales, [piece] * len(pending.tasks), keep)
            for task, gradients in zip(pending.tasks, each, strict=True):
                rows.add(task, gradients)
            sum_over_ranks(rows.values).div_(world_size())
            total += rows.gramian()
        return total

    # Weights

    def _weigh(self, gramian: Tensor, present: Sequence[int]) -> Tensor:
        """Ask the balancer for the weights of the tasks that are there; those of the others are as they were.

        The Gramian comes in the type in which it was summed up, so that solvers know how exact it is. One that is not finite (a
        scaled loss in half precision) gives weights of 1, so that the scaler finds it, and the next step measures again.
        """
        device, at = gramian.device, list(present)
        gramian = gramian.detach().cpu()
        if len(present) < self.count:
            gramian = gramian[at][:, at]
        # Entries are at most as large as the diagonal is, and a sum is finite where all are: one number to read.
        self._again = not math.isfinite(float(gramian.trace()))
        if self._again or not present:
            return torch.ones(self.count, device=device)
        weights = self.balancer(gramian, present).detach().to(device, sum_dtype(device))
        if not math.isfinite(float(weights.sum())):
            raise ValueError(
                f"`balancer` must give finite weights for a finite Gramian, got {weights.tolist()} of {self.balancer} for "
                f"{gramian.tolist()}."
            )
        weights = as_first_rank(weights, self._group)
        self.balancer.remember(gramian, present)
        if len(present) == self.count:
            self.weights = weights.to("cpu", torch.float64, copy=True)
        else:
            self.weights[at] = weights.to("cpu", torch.float64)
            weights = self.weights.nan_to_num(nan=1.0).to(device)
        self._note(present, gramian.double())
        return weights

    def _known(self, device: torch.device) -> Tensor:
        """Give the latest weights; a task that was never weighed has the mean of the others."""
        known = self.weights.isfinite()
        return self.weights.where(known, self.weights[known].mean()).to(device)

    def state(self) -> dict[str, Any]:
        """Give the latest weights as plain data."""
        return {"weights": self.weights.tolist()}

    def seen(self, tasks: Sequence[int], losses: Tensor) -> tuple[Sequence[int], Tensor]:
        """Give the losses that the balancer is told."""
        return self.levels.extended(tasks, losses) if self.by_level else (tasks, losses)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on with the weights of a checkpoint, where it is of as many tasks."""
        weights = torch.tensor(state.get("weights", ()), dtype=torch.float64)
        if len(weights) == self.count:
            self.weights = weights


def mean_losses(batches: Sequence[tuple[Sequence[int], Tensor]]) -> tuple[Sequence[int], Tensor]:
    """Average the losses of several batches, by task: the tasks that any batch had, and their means."""
    if len(batches) == 1:
        return batches[0]
    found: dict[int, list[Tensor]] = {}
    for present, losses in batches:
        for task, loss in zip(present, losses.unbind(), strict=True):
            found.setdefault(task, []).append(loss)
    tasks = sorted(found)
    return tasks, torch.stack([torch.stack(found[task]).mean() for task in tasks]) if tasks else torch.zeros(0)


def _parameters(parts: nn.ModuleDict, name: str) -> list[nn.Parameter]:
    return list(parts[name].parameters()) if name in parts else []


def _is_compiled(part: nn.Module) -> bool:
    return isinstance(part, torch._dynamo.OptimizedModule) or part._compiled_call_impl is not None
