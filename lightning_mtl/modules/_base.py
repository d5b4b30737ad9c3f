"""The base of the library's modules: what a step's losses and predictions are used for."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from .._distributed import SHARDED, gather_objects, of_first_rank, shard, sum_dtype, sum_over_ranks
from .._random_state import random_state, set_random_state
from ..balancers import Balancer, FromGramian, GradientBalancer, LossBalancer, Weighting, seed_of_run
from ..callbacks import LossHistory
from ..encoders import Encoder, LevelledEncoder
from ..gradients import Balance, Cut, GradientBalancing, Measuring, Scope, balance_of, chosen, mean_losses, own_balancer
from ..inputs import Inputs
from ..optim import FineTuning
from ..task import Loss, Task, TaskMetrics
from ._evaluation import EvaluatedModule
from ._routing import Batch, Routing
from ._step import Step

_RANDOM = "lightning_mtl.random_state"
_BALANCE = "lightning_mtl.balance"


@dataclass(slots=True)
class _Progress:
    """Where training stands; beside the module, whose own attributes are slow to set."""

    step: int = 0
    shown_at: int = 0
    every: int = 50
    last_batch: float = -1
    last: Step = field(default_factory=Step)
    present: Sequence[int] = ()
    losses: Tensor | None = None
    seen: set[int] = field(default_factory=set)
    window: list[tuple[Sequence[int], Tensor]] = field(default_factory=list)
    """Tasks and losses of the batches that make a step of the optimizer."""
    met: bool = False
    """Whether a step had labels for two tasks."""
    there: list[Sequence[int] | Tensor] = field(default_factory=list)
    """The tasks of the batches that make a step of the optimizer, or how many labels all ranks have for each."""
    there_at: int = -1
    """The step of the optimizer that they are of."""
    counts: Tensor | None = None
    """How many labels all ranks have for each task, where only that is known."""
    balance: Callable[[], Balance] | None = None


class TaskModule(EvaluatedModule):
    """Losses, metrics, logs and optimizers of several tasks; `MultiTaskModule` and its like add how a batch is run."""

    carries_gradients: ClassVar[bool] = False
    """Whether the losses of a step carry gradients that are known before its backward pass."""

    lr: float | None = None
    """Rate that replaces the optimizer's own (`FineTuning.lr`, or that of trunk and heads), e.g. from Lightning's `Tuner`."""

    def __init__(
        self,
        tasks: Sequence[Task],
        encoder: Encoder,
        *,
        balancer: Balancer | Weighting | None = None,
        measuring: Measuring | None = None,
        optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
    ) -> None:
        super().__init__()
        measuring = measuring or Measuring()
        measuring.refuse(balancer)
        if not isinstance(encoder, Encoder):
            raise TypeError(
                f"`encoder` must be an Encoder, got {type(encoder).__name__}. Share it whole: "
                "HardSharing(encoder, width=<size of its features>)."
            )
        self.encoder = encoder
        self.inputs: dict[str, Inputs] = {}
        """How rows of each source become what the encoder reads; `MultiTaskDataModule` fills it before training."""
        self.heads = nn.ModuleDict()
        self.losses = nn.ModuleDict()
        self.also_shown: list[Callable[[], dict[str, float]]] = []
        """Functions whose values are shown with the training losses, every `log_every_n_steps`; callbacks add theirs."""
        self.shown_to: list[Callable[[int, dict[str, float]], None]] = []
        """Functions that are told the step and all values that are shown then; callbacks add theirs."""
        self.penalties: list[Callable[[Batch], Tensor | None]] = []
        """Functions that give what is added to the loss of a training batch, or nothing; callbacks add theirs."""
        self.balancer = own_balancer(balancer)
        """How the tasks of a step share it; with a single task it is left out."""
        self.measuring = measuring
        self._gradients: GradientBalancing | None = None
        self._lost_balancer: str | None = None
        """Name of a balancer that the checkpoint, of which the model was loaded, could not hold."""
        self._kept: list[nn.Module] = []
        self._optimizer = optimizer
        self._world_size = 1
        self.sharded = False
        """Whether parameters are cut over the ranks, so that each must run every source of a step, labels or not."""
        self._resumed: list[Any] | None = None
        self._totals: Tensor | None = None
        self.scored = {}
        _refuse_tasks(tasks)
        self._adopt([_own(task) for task in tasks])

    def _adopt(self, tasks: Sequence[Task]) -> None:
        """Take these tasks, and make their heads as far as they are known."""
        self.tasks = tuple(tasks)
        self._weights: list[float] | None = [task.weight for task in tasks]
        if all(weight == 1 for weight in self._weights):
            self._weights = None
        self.routing = Routing(tasks)
        names = tuple(task.name for task in tasks)
        positive = self.balancer is not None and isinstance(self.balancer, LossBalancer) and self.balancer.positive
        self._history = LossHistory(names, type(self.balancer).__name__ if positive and len(tasks) > 1 else None)
        self._progress = _Progress()
        self._balances = self.balancer is not None and len(tasks) > 1
        is_gradient = self._balances and isinstance(self.balancer, GradientBalancer)
        self._gradients = (
            GradientBalancing(self.balancer, len(tasks), self.measuring, self._level_rows()) if is_gradient else None
        )
        if self.balancer is not None and self._balances:
            by_level = self._gradients is not None and self._gradients.by_level
            self.balancer.build(self._level_rows().names if by_level else names)
        self._build()

    def balancing(self) -> dict[str, Any]:
        """Give the arguments that say how the tasks share a step."""
        if self.balancer is None:
            return {}
        given: Any = self.balancer.function if isinstance(self.balancer, FromGramian) else self.balancer
        return {"balancer": given, **vars(self.measuring)}

    def add_task(self, task: Task, *, freeze: bool = False) -> None:
        """Add a task to a model that was trained on others; what it has learned stays.

        Args:
            task: The new task.
            freeze: Whether the encoder and the heads there are keep their weights. Then the old tasks need no data: those whose
                source is not there are left out of training.

        Raises:
            ValueError: There is a task of this name.
        """
        _refuse_tasks([*self.tasks, task])
        for old in self.tasks if self.inputs else ():
            old.source = old.resolve(self.inputs)  # with more sources, "the one there is" may be another
        if freeze:
            self._kept = [self.encoder, *self.heads.values(), *self._more_parts()]
            for part in self._kept:
                part.requires_grad_(False)
        self._adopt([*self.tasks, _own(task)])

    def _build(self) -> None:
        """Make the layers of the heads that are known; when all are, the losses and metrics that follow from them."""
        for task in self.tasks:
            if task.head is not None:
                task.head.build(self._width(task))
                self.heads[task.name] = task.head
            if isinstance(task.loss, nn.Module) and task.name not in self.losses:
                self.losses[task.name] = copy.deepcopy(task.loss)
        if len(self.heads) == len(self.tasks):
            self._losses: list[Any] = [self._loss(task) for task in self.tasks]
            self._main_metrics = [task.main_metric() for task in self.tasks]
            self.metrics = TaskMetrics(self.tasks)
            self._set_metrics_dtype()

    def _width(self, task: Task) -> int:
        """Give the size of the features that a task's head reads."""
        return self.encoder.width

    def shared(self) -> nn.Module:
        """Give what tasks share, whose gradients a balancer weighs."""
        return self.encoder

    def _level_rows(self) -> Any:
        """Say what is weighed at each level of a hierarchy; None where there are no levels."""
        return None

    def moved_by(self, task: int) -> set[int]:
        """Number the tasks whose heads the loss of this task moves."""
        return {task}

    def arguments(self) -> dict[str, Any]:
        """Give the arguments beside tasks, encoder and balancing, as plain data."""
        return {}

    def _loss(self, task: Task) -> Loss:
        head = task.known_head()
        if task.loss is None:
            return head.loss
        held: Any = self.losses._modules
        own: Any = held.get(task.name, task.loss)
        return lambda prediction, target: own(prediction, head.scale_target(target))

    @property
    def scope(self) -> Scope | None:
        """Where a gradient balancer measures, as far as it is known; None without one."""
        return None if self._gradients is None else self._gradients.scope

    @property
    def cut(self) -> Cut | None:
        """Where the shared part of a training step ends, if a balancer weighs gradients there."""
        return None if self._gradients is None else self._gradients.cut

    # Hooks of Lightning

    def configure_model(self) -> None:
        """Make what only the data could tell: heads that were not given, the size of a table's features."""
        self._build_encoder()
        if len(self.heads) < len(self.tasks):
            self._build()
        if self._trainer is not None:  # else a checkpoint is being loaded
            for task in self.tasks:
                task.known_head()
            if self.trainer.precision == "64-true":
                self.double()  # Lightning does so after it has read a checkpoint, which would be rounded
            self._set_metrics_dtype()
            if self.device_mesh is not None:
                self._shard()

    def _shard(self) -> None:
        """Cut the parameters over the ranks, block by block (FSDP2)."""
        learned = [rule for rule in self._rules().values() if list(rule.parameters())]
        assert self.device_mesh is not None
        parts = [*self.encoder.blocks(), self.encoder, *self.heads.values(), *learned, *self._more_parts()]
        shard(parts, self.device_mesh["data_parallel"])

    @property
    def _some_idle(self) -> bool:
        """Whether some parameters get no gradient in any step."""
        return False

    def _more_parts(self) -> Sequence[nn.Module]:
        """Give what else has parameters."""
        return ()

    def _set_metrics_dtype(self) -> None:
        if self._trainer is not None:
            self.metrics.set_dtype(sum_dtype(self.trainer.strategy.root_device))
            self.metrics.to(self.device)

    def setup(self, stage: str) -> None:
        """Look at the strategy before it wraps the model: where steps can omit tasks, DDP must expect it."""
        self._world_size = self.trainer.world_size
        self.sharded = isinstance(self.trainer.strategy, SHARDED)
        strategy = self.trainer.strategy
        self.routing.left_out = frozenset()  # an earlier run may have broken off
        self._let_go_of_callbacks(self.trainer.callbacks)  # type: ignore[attr-defined]
        if getattr(getattr(self.trainer, "datamodule", None), "sources", None) is None:
            self.routing.forget()  # what an earlier run was bound to
        own_hook = type(self).on_before_batch_transfer is not L.LightningModule.on_before_batch_transfer
        if strategy.root_device.type != "cpu" and not own_hook:
            # What has to be found out about a batch is found out on the CPU, so that no step waits for the device.
            self.on_before_batch_transfer = self._before_transfer  # type: ignore[method-assign]
        if stage == "fit":
            self._prepare_balancer()
        all_used = self.routing.every_task_every_step and not self._some_idle
        if stage != "fit" or all_used or not isinstance(strategy, DDPStrategy):
            return
        if not strategy._ddp_kwargs.setdefault("find_unused_parameters", True):
            raise ValueError(
                "`find_unused_parameters` of DDPStrategy must be true where a step can lack labels for a task, got False. "
                "Leave it out (strategy='ddp'): it is then set where it is needed."
            )

    def teardown(self, stage: str) -> None:
        """Let go of the callbacks of a run that is over."""
        self._let_go_of_callbacks([])

    @property
    def _hung(self) -> list[list[Any]]:
        """Lists of functions that callbacks hang into the module."""
        return [self.also_shown, self.shown_to, self.penalties]

    def _let_go_of_callbacks(self, but: Sequence[L.Callback]) -> None:
        for hung in self._hung:
            owners = [getattr(of, "__self__", None) for of in hung]
            left = [not isinstance(owner, L.Callback) or owner in but for owner in owners]
            hung[:] = [of for of, stays in zip(hung, left, strict=True) if stays]

    def _prepare_balancer(self) -> None:
        if self._lost_balancer:
            raise ValueError(
                f"`balancer` must be given to train on a model that was trained with {self._lost_balancer}, a function or class of your "
                "own, which its checkpoint does not hold. Load it with balancer=..., or with balancer=None to train without."
            )
        if self.balancer is not None:
            self.balancer.run_seed = of_first_rank(seed_of_run())
        if self._gradients is not None:
            self._gradients.prepare(self)

    def _before_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch if self.trainer.predicting else self._noted(batch)

    def _noted(self, batch: Any) -> Any:
        """Note in a batch which rows have labels, where the loader has not done so."""
        return self.routing.label(batch)

    def on_train_start(self) -> None:
        """Forget an earlier fit's unfinished losses, and go on with the random state of the checkpoint, if there is one."""
        frozen = self.encoder.frozen_parts() if isinstance(self.encoder, LevelledEncoder) else []
        for part in [*self._kept, *frozen]:  # what was frozen: no running average may move
            part.eval()
        states, self._resumed = self._resumed, None
        if states is not None and self.trainer.ckpt_path and self.global_rank < len(states):
            set_random_state(states[self.global_rank])
        for hung in self._hung:  # a run that broke off may have left the same
            hung[:] = [of for i, of in enumerate(hung) if of not in hung[:i]]
        self._history.clear()
        if self._gradients is not None:
            self._gradients.reset()
        step = self.trainer.global_step
        # Without logs, still look for losses that are not finite.
        seen = (
            set(range(len(self.tasks))) if self.trainer.ckpt_path else set()
        )  # what came before the resume is not known
        self._progress = _Progress(
            step, seen=seen, shown_at=step, every=getattr(self.trainer, "log_every_n_steps", 0) or 50
        )
        self._note_last_batch()  # a run that is resumed within an epoch does not start it

    def on_train_end(self) -> None:
        """Let go of what balancing held."""
        if self._gradients is not None:
            self._gradients.reset()

    def on_train_epoch_start(self) -> None:
        """Note which batch is the last one: its metrics are shown."""
        self._note_last_batch()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Settle how the gradients of this batch are balanced, before the strategy sees it."""
        if self._gradients is not None:
            self._gradients.begin(self, batch)

    def _note_last_batch(self) -> None:
        self._progress.last_batch = self.trainer.num_training_batches - 1

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Run one batch, and return the loss that is minimised."""
        if self._gradients is not None:
            self._gradients.open()
            try:
                step = self.run(batch).in_order()
            except BaseException:
                self._gradients.reset()
                raise
            losses = self._gradients.enter(step)
        else:
            step = self.run(batch).in_order()
            losses = torch.stack(step.losses) if step.losses else self._no_losses(step)
        losses, present, means = self._over_ranks(step, losses)
        progress = self._progress
        if progress.there_at != progress.step:
            progress.there_at, progress.there = progress.step, []
        progress.there.append(present if progress.counts is None else progress.counts)
        self._history.append(progress.step, step.tasks, losses)
        progress.present, progress.losses = step.tasks, losses.detach()
        if (progress.step + 1) % progress.every == 0 or batch_idx == progress.last_batch:
            progress.last = Step(
                step.tasks, answers=[(answer.detach(), target, rows) for answer, target, rows in step.answers]
            )
        total = sum(self._nothing(step, present), self._total(losses, step.tasks, present, means))
        for penalty in self.penalties:
            more = penalty(batch)
            total = total if more is None else total + more
        return total if step.losses or total.requires_grad else total.requires_grad_()  # what it hangs on may be frozen

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Run the backward pass; a gradient balancer may measure the gradients of each task in it."""
        if self._gradients is None:
            super().backward(loss, *args, **kwargs)
        else:
            self._gradients.backward(loss, last=not self.trainer.fit_loop._should_accumulate(), **kwargs)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Show losses and metrics every `log_every_n_steps`; without logs, only look for losses that are not finite."""
        progress = self._progress
        progress.step = self.trainer.global_step
        if progress.step % progress.every == 0 and progress.step != progress.shown_at:
            self._show()

    def on_train_epoch_end(self) -> None:
        """Show what was not shown yet, and name tasks that the epoch never trained though their source was drawn."""
        if len(self._history):
            self._show()
        if self._gradients is not None and not self._progress.met and self.trainer.current_epoch == 0:
            warnings.warn(
                "No step of the first epoch had labels for two tasks, so there were no gradients to balance: leave `balancer` out, or "
                "put rows of several tasks into a step.",
                stacklevel=1,
            )
        known = self._progress.seen | self._not_drawn()
        unseen = [task.name for i, task in enumerate(self.tasks) if i not in known and not self.routing.idle(i)]
        if unseen and self.trainer.current_epoch == 0:
            warnings.warn(
                f"No batch of the first epoch had labels for {unseen}: check the sources and target columns of these tasks.",
                stacklevel=1,
            )

    def _not_drawn(self) -> set[int]:
        """Number the tasks whose source no step has held yet, as sampling would have it."""
        sampler = getattr(getattr(self.trainer, "datamodule", None), "sampler", None)
        undrawn = [] if sampler is None else [name for name in sampler.names if not sampler.drawn_rows(name)]
        return {task for name in undrawn for task in self.routing.readers(name)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to write weights that a non-finite loss may have spoiled; add the random state of every rank."""
        if len(self._history):
            self._history.read()
        checkpoint[_RANDOM] = gather_objects(random_state())
        if self.balancer is not None and self._balances:
            state = {} if self._gradients is None else self._gradients.state()
            names, seed = [task.name for task in self.tasks], self.balancer.run_seed
            checkpoint[_BALANCE] = {"tasks": names, "seed": seed, **state}
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the random states until training goes on."""
        self._resumed = checkpoint.get(_RANDOM)
        self._load_balance(checkpoint.get(_BALANCE, {}))
        super().on_load_checkpoint(checkpoint)

    def configure_optimizers(self) -> Any:
        """Make the optimizer: by default AdamW at a rate of 0.001, with a group for the trunk and one for the heads.

        A head whose task has a `weight_decay` of its own is a group "heads/<task>".

        Raises:
            ValueError: A task has a weight decay, and the optimizer knows of none.
        """
        if isinstance(self._optimizer, FineTuning):
            return self._fine_tune(self._optimizer)
        decays = {f"heads/{task}": decay for task, decay in self._decays().items()}
        task_of = {id(p): task for task, head in self.heads.items() for p in head.parameters()}
        learned = {name: [p for p in rule.parameters() if p.requires_grad] for name, rule in self._rules().items()}
        in_rules = {id(p) for params in learned.values() for p in params}
        groups: dict[str, list[nn.Parameter]] = {"trunk": [], "heads": [], **{name: [] for name in decays}}
        for parameter in self.parameters():
            if parameter.requires_grad and id(parameter) not in in_rules:
                task = task_of.get(id(parameter))
                own = f"heads/{task}" if f"heads/{task}" in decays else "heads"
                groups["trunk" if task is None else own].append(parameter)
        make = self._optimizer or torch.optim.AdamW
        rate = {} if self.lr is None else {"lr": self.lr}
        made: list[dict[str, Any]] = [
            {"params": params, "name": name, **rate} for name, params in groups.items() if params
        ]
        for group in made:
            group |= {"weight_decay": decays[group["name"]]} if group["name"] in decays else {}
        made += [{"params": params, "name": name, "weight_decay": 0.0} for name, params in learned.items() if params]
        optimizer = make(made)
        if decays and "weight_decay" not in optimizer.defaults:
            raise ValueError(
                f"`weight_decay` of a task must be left out with {type(optimizer).__name__}, which knows of none, got {decays}. Use "
                "an optimizer that does, e.g. AdamW."
            )
        return optimizer

    def _decays(self) -> dict[str, float]:
        """Give the weight decay of each task that has one of its own."""
        return {task.name: task.weight_decay for task in self.tasks if task.weight_decay is not None}

    def _rules(self) -> dict[str, nn.Module]:
        """Give what has parameters of its own beside the network's, which no weight decay may shrink, by the name of its group."""
        return {} if self.balancer is None else {"balancer": self.balancer}

    def _fine_tune(self, habits: FineTuning) -> dict[str, Any]:
        trainer = self.trainer
        steps = trainer.estimated_stepping_batches
        if not 0 < steps < math.inf:
            raise ValueError(
                "`max_epochs` or `max_steps` of the Trainer must end the run for `FineTuning`, whose rates fall to the end, got "
                f"max_epochs={trainer.max_epochs} and max_steps={trainer.max_steps}. Set one of them."
            )
        if self.lr is not None:
            habits = replace(habits, lr=self.lr)
        # A fused step takes the scaling off the gradients itself, and Lightning then refuses to clip them.
        fused = trainer.precision != "16-mixed"
        stages = self.encoder.stages if isinstance(self.encoder, LevelledEncoder) else ()
        return habits.configure(
            self,
            self.heads,
            int(steps),
            fused=fused,
            rules=self._rules(),
            levels=self._levels(),
            stages=stages,
            decays=self._decays(),
        )

    def _levels(self) -> list[tuple[nn.Module, list[nn.Parameter]]]:
        """Give the module and all parameters of each level of the encoder; nothing where it has no levels."""
        return self.encoder.levelled() if isinstance(self.encoder, LevelledEncoder) else []

    # Losses

    def _load_balance(self, state: dict[str, Any]) -> None:
        """Go on with the weights and the seed of a checkpoint."""
        names = [task.name for task in self.tasks]
        if self.balancer is None or not self._balances or not state:
            return
        if state["tasks"] != names:
            raise ValueError(
                f"`tasks` must be in the order of the checkpoint, in which a balancer keeps what it knows, got {names} for "
                f"{state['tasks']}. Give them in that order."
            )
        self.balancer.run_seed = state["seed"]
        if self._gradients is not None:
            self._gradients.load_state(state)

    def step_tasks(self) -> set[int]:
        """Number the tasks of the batches that make this step of the optimizer, on any rank; it may wait for the device."""
        found: set[int] = set()
        for there in self._progress.there:
            found.update(there.nonzero().squeeze(-1).tolist() if isinstance(there, Tensor) else there)
        return found

    def last_losses(self) -> tuple[Sequence[int], Tensor]:
        """Give the numbers of the tasks in the last training step, and their losses; their mean over the ranks counts."""
        progress = self._progress
        assert progress.losses is not None, "there was no step yet"
        return progress.present, progress.losses

    @property
    def balance(self) -> Balance | None:
        """How the last training step was balanced: weights, and norms and cosines of gradients; None without a balancer."""
        if self._gradients is not None:
            return self._gradients.balance()
        return None if self._progress.balance is None else self._progress.balance()

    def _no_losses(self, step: Step) -> Tensor:
        return torch.zeros(0, device=self.device) if step.features is None else step.features.new_zeros(0)

    def _over_ranks(self, step: Step, losses: Tensor) -> tuple[Tensor, Sequence[int], Tensor]:
        """Weigh this rank's mean losses so that the ranks' average is the mean over all ranks' labelled examples.

        Returns:
            The weighed losses; and the tasks that any rank has labels for, with their mean losses over all ranks, where it
            matters: with a balancer, and where parameters are cut over the ranks.
        """
        if self._world_size == 1:
            return losses, step.tasks, losses.detach()
        local = self._label_counts(step)
        if not self._balances and not self.sharded:
            counts = sum_over_ranks(local.clone())
            self._progress.counts = counts
            return losses * self._shares(step, local, counts, losses), step.tasks, losses
        sums = torch.zeros_like(local)
        if step.tasks:
            sums[step.tasks] = losses.detach().to(sums) * local[step.tasks]
        counts, sums = sum_over_ranks(torch.stack([local, sums])).unbind()
        everyone = range(len(self.tasks))
        # Where labels can be missing, all ranks must know of which tasks before they go on: this waits for the device.
        present = everyone if self.routing.every_task_every_step else [i for i, n in enumerate(counts.tolist()) if n]
        return losses * self._shares(step, local, counts, losses), present, chosen(sums / counts, present).to(losses)

    def _shares(self, step: Step, local: Tensor, counts: Tensor, like: Tensor) -> Tensor:
        return chosen((local * self._world_size / counts).to(like.dtype), step.tasks)

    def _total(self, losses: Tensor, tasks: Sequence[int], present: Sequence[int], means: Tensor) -> Tensor:
        """Make one loss of those of this rank, with the mean losses of all ranks beside them."""
        losses = self._weighted(losses, tasks)
        if not self._balances:
            return losses.sum()
        means = self._weighted(means, present)
        self._observe(means, present)
        if self._gradients is not None:
            return self._gradients.total(losses, present, means)
        balancer: Any = self.balancer
        if self._world_size > 1 and present:
            losses = _spread(losses, tasks, means, present)
        self._progress.balance = lambda: balance_of(balancer, means, present)
        return balancer(losses, present) if present else losses.sum()

    def _weighted(self, losses: Tensor, tasks: Sequence[int]) -> Tensor:
        if self._weights is None or not len(losses):
            return losses
        return torch.stack([self._weights[i] * loss for i, loss in zip(tasks, losses.unbind(), strict=True)])

    def _observe(self, means: Tensor, present: Sequence[int]) -> None:
        """Tell the balancer the losses, once for each step of the optimizer."""
        progress, balancer = self._progress, self.balancer
        assert balancer is not None
        progress.met |= len(present) > 1
        balancer.step = progress.step
        progress.window.append((present, means))
        if self.trainer.accumulate_grad_batches > 1 and self.trainer.fit_loop._should_accumulate():
            return
        tasks, losses = mean_losses(progress.window)
        progress.window = []
        if tasks:
            if self._gradients is not None:
                tasks, losses = self._gradients.seen(tasks, losses)
            balancer.observe(losses, progress.step, self.trainer.current_epoch, tasks)

    def _nothing(self, step: Step, present: Sequence[int]) -> list[Tensor]:
        """Give zeros that hang on what was run without labels: other ranks have some, or wait for its gradients."""
        zeros = [zero for task, zero in step.idle.items() if task in present]
        if step.features is not None and not (present if self.sharded else step.losses):
            zeros.append(0 * step.features.sum())
        return zeros

    # Training: what is shown

    def _show(self) -> None:
        losses, there = self._history.read()
        self._history.clear()
        progress = self._progress
        progress.shown_at = progress.step
        progress.seen.update(there.any(0).nonzero().squeeze(-1).tolist())
        weights = losses.new_tensor(self._weights or [1.0] * len(self.tasks))
        values = {"train/loss": (losses @ weights).mean().item()}
        means = (losses.sum(0) / there.sum(0)).tolist()
        values |= {
            f"train/{task.name}/loss": mean
            for task, mean in zip(self.tasks, means, strict=True)
            if not math.isnan(mean)
        }
        values |= self._loss_shares(losses)
        if (balance := self.balance) is not None:
            weights_of = zip(balance.tasks, balance.weights.tolist(), strict=True)
            values |= {f"train/{name}/loss_weight": weight for name, weight in weights_of}
        for more in self.also_shown:
            values |= more()
        for task, answer in zip(progress.last.tasks, progress.last.answers, strict=True):
            self._judge("train", task, *answer)
        counts = sum_over_ranks(self._label_counts(progress.last)).tolist()
        for group in self.metrics.compute("train", counts).values():
            values |= {name: value.item() for name, value in group.items()}
        progress.last = Step()
        self._publish(values)

    def _loss_shares(self, losses: Tensor) -> dict[str, float]:
        """Say which part of the loss that was minimised since the last time came from which task."""
        if len(self.tasks) == 1:
            return {}
        sums = losses.sum(0) * losses.new_tensor(self._weights or [1.0] * len(self.tasks))
        shares = (sums / sums.sum()).tolist()
        return {f"train/{task.name}/loss_share": share for task, share in zip(self.tasks, shares, strict=True)}

    def _label_counts(self, step: Step) -> Tensor:
        counts = [0.0] * len(self.tasks)
        for task, (_, target, _) in zip(step.tasks, step.answers, strict=True):
            counts[task] = len(target)
        return torch.tensor(counts, dtype=sum_dtype(self.device)).to(self.device, non_blocking=True)

    def _publish(self, values: dict[str, float]) -> None:
        """Hand values to loggers, callbacks and the progress bar at a fraction of the price of `self.log`."""
        trainer = self.trainer
        tensors = {name: torch.tensor(value) for name, value in values.items()}
        trainer.callback_metrics.update(tensors)
        trainer.logged_metrics.update(tensors)
        trainer.progress_bar_metrics["train/loss"] = values["train/loss"]
        for tell in self.shown_to:
            tell(self._progress.step, values)
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=self._progress.step - 1)


def _spread(losses: Tensor, tasks: Sequence[int], means: Tensor, present: Sequence[int]) -> Tensor:
    """Give losses whose values are those of all ranks, and whose gradients those of this one."""
    own = dict(zip(tasks, (losses - losses.detach()).unbind(), strict=True))
    return torch.stack([mean + own[i] if i in own else mean for i, mean in zip(present, means.unbind(), strict=True)])


def _refuse_tasks(tasks: Sequence[Task]) -> None:
    if isinstance(tasks, str | Task | Mapping) or not all(isinstance(task, Task) for task in tasks):
        raise TypeError(f"`tasks` must be a list of Task, got {tasks!r}. Make them: [Task(name), ...].")
    names = [task.name for task in tasks]
    if not names:
        raise ValueError("`tasks` must hold at least one Task, got none.")
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"`tasks` must have different names, got {sorted(doubled)} more than once. Rename one.")


def _own(task: Task) -> Task:
    """Copy a task with its head, so that modules made of the same tasks share nothing."""
    own = copy.copy(task)
    own.head = copy.deepcopy(task.head)
    return own
