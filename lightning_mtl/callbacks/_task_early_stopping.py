"""Early stopping of single tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from .._checks import require, require_number, require_numbers
from .._distributed import flattens
from .._lightning import averaged_copies, scored_copy
from ..task import MultiTask, is_multi_task
from ._frozen_heads import FrozenHeads
from ._patience import Patience
from ._run_sampler import sampler_of
from ._stateful import StatefulCallback
from ._stoppable_tasks import patience_of_tasks, stoppable_tasks

Action = Literal["freeze", "drop", "vote"]
Stop = Literal["all", "any", "majority"]


class TaskEarlyStopping(StatefulCallback):
    """Stop each task when its validation score has not improved for a while; small tasks overfit while large ones still learn.

    A task is judged by its first metric, in the direction in which that is better, after each validation. `action` says what
    happens to a task that has stopped:

    - "freeze": its head no longer moves, bit for bit; its loss still shapes the trunk.
    - "drop": its loss no longer counts either. Where other tasks read its source, the loss leaves the steps at once, on all ranks;
      where none does, the source is no longer drawn, from the 32nd step on (rates are announced so early, see `SamplingSchedule`),
      and until then the task is frozen. Epochs keep their length, and the other sources take over its share. The last tasks
      are never dropped: training ends.
    - "vote": nothing, but it counts for `stop_when`.

    Validation still shows all of them. Where weights are averaged (`EMAWeightAveraging`), a head is kept and frozen as it was scored: by its averages.

    Args:
        patience: Validations in a row without a better score after which a task has stopped: a number for all tasks that have a
            metric, or {task: number}; tasks without an entry never stop.
        min_delta: By how much a score must be above the best one to be better.
        action: What happens to a task that has stopped.
        stop_when: Whether training ends when "all" tasks that have a metric have stopped, when "any" has, or a "majority" (more than
            half); None for never. `min_epochs` and `min_steps` of the Trainer count.
        restore: Whether a head gets back the weights of its best validation: when its task is frozen or dropped, and, whatever the
            action, when training ends (after the Trainer's last checkpoint). They are kept on the CPU, and in checkpoints. The trunk is not restored.

    Raises:
        ValueError: A number out of its range, an unknown action, task or `stop_when`; tasks without metrics, or a run without
            validation; "drop" with several sources and no `MultiTaskDataModule`; or a strategy that flattens parameters.

    Example:
        >>> from lightning_mtl.callbacks import TaskEarlyStopping
        >>> stopping = TaskEarlyStopping({"mood": 2, "topic": 5}, action="drop")  # L.Trainer(callbacks=[stopping])
    """

    def __init__(
        self,
        patience: int | Mapping[str, int] = 3,
        *,
        min_delta: float = 0.0,
        action: Action = "freeze",
        stop_when: Stop | None = "all",
        restore: bool = True,
    ) -> None:
        remedy = "1 stops at the first score that is not better."
        if isinstance(patience, Mapping):
            require(len(patience) > 0, "patience", "a number or {task: number}", patience, "Name the tasks to judge.")
            require_numbers("patience", patience, remedy, at_least=1, whole=True)
        else:
            require_number("patience", patience, remedy, at_least=1, whole=True)
        require_number("min_delta", min_delta, "0 counts every gain.", at_least=0)
        require(action in get_args(Action), "action", f"one of {list(get_args(Action))}", action, "Choose one.")
        ends = (*get_args(Stop), None)
        require(stop_when in ends, "stop_when", f"one of {list(ends)}", stop_when, "None never ends training.")
        self.patience, self.min_delta, self.action = patience, min_delta, action
        self.stop_when, self.restore = stop_when, restore
        self._reset()

    def _reset(self) -> None:
        self._progress = Patience(self.min_delta)
        self._heads = FrozenHeads()
        self._silent: list[str] = []  # tasks whose loss has left the steps
        self._patience: dict[str, int] = {}
        self._first_batch_due = False

    def record(self) -> dict[str, Any]:
        """Return which tasks may stop, the best evaluation of each, and when they stopped, as plain data."""
        return {
            "tasks": list(self._patience),
            "stopped": dict(self._progress.stopped),
            "best": {task: dict(of) for task, of in self._progress.best.items()},
            "action": self.action,
        }

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Check the model and the strategy; steps will lack tasks that are dropped, which DDP must expect from the start."""
        if stage != "fit":
            return
        if not is_multi_task(pl_module):
            raise ValueError(
                f"TaskEarlyStopping must have a module of lightning_mtl, got {type(pl_module).__name__}. Use `EarlyStopping` of Lightning."
            )
        if flattens(trainer.strategy) and (self.restore or self.action != "vote"):
            raise ValueError(
                f"TaskEarlyStopping must find the parameters of each head, got {type(trainer.strategy).__name__}, which flattens them. Use "
                "'ddp' or ModelParallelStrategy; or action='vote' with restore=False."
            )
        if self.action == "drop":
            pl_module.routing.every_task_every_step = False

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Find which tasks may stop; start from scratch, or resume."""
        if not trainer.enable_validation:
            raise ValueError(
                "TaskEarlyStopping must see validation scores, got a run without validation. Give the sources a split 'validation'."
            )
        if self.starts_new_run(trainer):
            self._reset()
        self._patience = patience_of_tasks(self.patience, pl_module)
        self._heads.find_shared(pl_module.heads, pl_module.encoder)
        self._first_batch_due = self.action == "drop"
        self._heads.freeze(self._frozen(pl_module))
        self._silence(pl_module)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Stop the running averages of frozen heads; check the sources at the first batch."""
        if self._first_batch_due:
            self._first_batch_due = False
            self._refuse_sources(trainer, pl_module, batch)
        self._heads.stop_norms()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Remove the gradients of frozen heads."""
        self._heads.clear_gradients(self._frozen(pl_module))

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Let dropped tasks be evaluated too."""
        if trainer.state.fn == TrainerFn.FITTING:
            pl_module.routing.left_out = frozenset()
            # An average of equal weights may be rounded.
            self._heads.restore_best(self._frozen(pl_module), averaged_copies(trainer))

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Judge the tasks; the scores are equal on all ranks, and so is what follows."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        frozen = self._frozen(pl_module)
        scores = {task: score for task, score in pl_module.scores().items() if task not in frozen}
        better, stopped = self._progress.update(trainer.global_step, scores, self._patience)
        scored = scored_copy(trainer) or pl_module
        for task in better if self.restore else ():
            self._heads.keep_best(task, scored.heads[task])
        for task in stopped:
            self._stop(task, pl_module, [scored, *averaged_copies(trainer)])
        if stopped and self.action == "drop":
            self._drop(trainer, pl_module, stopped)
        self._silence(pl_module)
        if self._training_ends(pl_module):
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Give heads back their best weights."""
        self._heads.restore_best(self._heads.best, [pl_module, *averaged_copies(trainer)])

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the module."""
        super().teardown(trainer, pl_module, stage)
        if is_multi_task(pl_module):
            pl_module.routing.left_out = frozenset()
        self._heads.release_norms()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Release the norms after an error, where there is no teardown."""
        self._heads.release_norms()

    def state_dict(self) -> dict[str, Any]:
        """Return the best scores, which tasks have stopped, and the best weights of heads."""
        return {**self._progress.state_dict(), "silent": list(self._silent), "weights": dict(self._heads.best)}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state.
        """
        self._progress.load_state_dict(state)
        self._silent, self._heads.best = list(state["silent"]), dict(state["weights"])

    # Tasks that stop

    def _frozen(self, module: MultiTask) -> dict[str, nn.Module]:
        """Return the frozen heads by task."""
        return {} if self.action == "vote" else {task: module.heads[task] for task in self._progress.stopped}

    def _stop(self, task: str, module: MultiTask, models: Sequence[MultiTask]) -> None:
        """Freeze a head, by its best weights or as it was scored, in the first of these models."""
        best = self._progress.best.get(task, {"score": math.nan, "step": 0})
        rank_zero_info(
            f"Task {task!r} has stopped ({self.action}): its score was best at step {best['step']}, with {best['score']:.4g}."
        )
        if self.action == "vote":
            return
        if task not in self._heads.best:
            self._heads.keep_best(task, models[0].heads[task])
        self._heads.restore_best([task], [module, *models])
        self._heads.freeze(self._frozen(module))

    def _refuse_sources(self, trainer: L.Trainer, module: MultiTask, batch: Any) -> None:
        if sampler_of(trainer) is not None:
            loader: Any = trainer.train_dataloader
            loader.refuse_reading_far_ahead()
        elif isinstance(batch, Mapping):
            module.routing.bind_batch(batch)
            sources = module.routing.sources
            require(
                len(sources) < 2,
                "action",
                "'freeze' or 'vote' where a source of several may have to be left out",
                self.action,
                f"Read {sources} by a `MultiTaskDataModule`, which can leave out one of them.",
            )

    def _drop(self, trainer: L.Trainer, module: MultiTask, stopped: Sequence[str]) -> None:
        """Leave out the sources from which no task learns any more, and elsewhere the losses; unless nothing would be left."""
        if not self._any_task_learns(module):
            return
        sampler = sampler_of(trainer)
        for source in module.routing.sources:
            readers = [module.tasks[i].name for i in module.routing.reads(source)]
            if any(task not in self._progress.stopped for task in readers):
                self._silent += [task for task in readers if task in stopped]
            elif sampler is not None:
                sampler.leave_out([source])

    def _silence(self, module: MultiTask) -> None:
        module.routing.left_out = frozenset(i for i, task in enumerate(module.tasks) if task.name in self._silent)

    def _any_task_learns(self, module: MultiTask) -> bool:
        return any(
            task.name not in self._progress.stopped and not module.routing.idle(i)
            for i, task in enumerate(module.tasks)
        )

    def _training_ends(self, module: MultiTask) -> bool:
        stopped = sum(task in self._progress.stopped for task in self._patience)
        if self.action == "drop" and not self._any_task_learns(module):
            return True
        count = len(stoppable_tasks(module))
        enough = {"all": count, "any": 1, "majority": count // 2 + 1}
        return self.stop_when is not None and stopped >= enough[self.stop_when]
