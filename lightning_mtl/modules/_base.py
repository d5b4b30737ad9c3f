"""The base of the library's modules: the steps of training and evaluation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor

from .._distributed import SHARDED, gather_objects, sum_dtype
from .._lightning import (
    callbacks_of,
    label_on_cpu,
    placed,
    run_missed_validation,
    save_scored_weights,
    sources_of_run,
    trainer_of,
)
from .._random_state import random_state, resume_random_state
from ..encoders import Encoder, LevelledEncoder
from ..gradients import Balance, Cut, Moment, Scope, Step, step_balance
from ..saving import KEY, description_of, refuse_spoiled, resume_from, unusual_tensors
from ..task import Batch, Task, TaskMetrics
from ._assess import assess
from ._callback_functions import keep_functions_of, remove_doubles
from ._checks import refuse_lost_balancer
from ._evaluation import Evaluation, read_precision
from ._evaluation_log import log_evaluation
from ._log_order import place_logging, remove_logging
from ._network import TaskNetwork
from ._renamed import Renamed
from ._step_loss import StepLoss
from ._strategy_checks import fit_to_fabric, fit_to_strategy, refuse_line_search
from ._train_log import TrainLog

_RANDOM = "lightning_mtl.random_state"
_BALANCE = "lightning_mtl.balance"


class TaskModule(TaskNetwork):
    """The steps of training and evaluation of several tasks; `MultiTaskModule` adds how a batch is run.

    It holds its parts: the log of training, the loss of a step, the balancing of the tasks, and the evaluation.
    """

    carries_gradients: ClassVar[bool] = False
    """Whether the losses of a step carry gradients that are known before its backward pass."""
    has_unused_parameters: bool = False
    """Whether some parameters get no gradient in any step."""
    also_shown, shown_to = Renamed("train_log.extra_values"), Renamed("train_log.listeners")
    last_losses, step_tasks = Renamed("loss_over_ranks.last"), Renamed("loss_over_ranks.tasks_of_step")
    scored, placed = Renamed("task_evaluation.scored"), placed

    def __init__(self, tasks: Sequence[Task], encoder: Encoder, **options: Any) -> None:
        self.train_log = TrainLog()
        self.penalties: list[Callable[[Batch], Tensor | None]] = []
        """Functions that return a term of the loss of a training batch, or None; callbacks add theirs."""
        self.sharded = False
        """Whether parameters are sharded over the ranks; then each rank must run every source of a step, with or without labels."""
        self.task_evaluation = Evaluation(self)
        self.loss_over_ranks = StepLoss()
        self._resumed: list[Any] | None = None
        super().__init__(tasks, encoder, **options)

    def _set_tasks(self, tasks: Sequence[Task]) -> None:
        self._balance = step_balance(self.balancer, len(tasks), self.measuring, self._level_rows())
        self._balance.build([task.name for task in tasks])
        self.loss_over_ranks = StepLoss(tasks, self._balance, self.loss_over_ranks)
        self.train_log.follow(tasks, self._balance.positive)
        super()._set_tasks(tasks)

    def build_heads(self) -> None:
        """Make the layers of the heads that are known; when all are, the losses and metrics that follow from them."""
        super().build_heads()
        if len(self.heads) == len(self.tasks):
            self.metrics = TaskMetrics(self.tasks)
            self.task_evaluation.follow(self.tasks)
            self._match_precision()

    # What a subclass adds

    @abstractmethod
    def run(self, batch: Batch) -> Step:
        """Compute the losses of the tasks that have labels in this batch.

        Where there is a `cut`, the features that the heads read must pass through it.
        """

    def _label(self, batch: Any) -> Any:
        """Record in a batch which rows have labels, unless the loader has done so."""
        return self.routing.label(batch)

    # What others may read

    @property
    def scope(self) -> Scope | None:
        """Where a gradient balancer measures; None without one, and until it is known."""
        return self._balance.scope

    @property
    def cut(self) -> Cut | None:
        """Where the shared part of a training step ends, if a balancer weighs gradients there."""
        return self._balance.cut

    @property
    def balance(self) -> Balance | None:
        """How the last training step was balanced: weights, and norms and cosines of gradients; None without a balancer."""
        return self._balance.latest()

    def scores(self) -> dict[str, float]:
        """Return the latest validation score of each task that has one, see `Task.score`; higher is better."""
        return dict(self.task_evaluation.latest)

    assess = assess

    # Before training

    def _match_precision(self) -> None:
        super()._match_precision()
        if trainer_of(self) is not None and len(self.heads) == len(self.tasks):
            self.metrics.set_dtype(sum_dtype(self.trainer.strategy.root_device))
            self.metrics.to(self.device)

    def setup(self, stage: str) -> None:
        """Read the strategy before it wraps the model; where steps can lack a task, DDP must expect unused parameters."""
        strategy = self.trainer.strategy
        self.sharded = isinstance(strategy, SHARDED)
        self.loss_over_ranks.world_size, self.loss_over_ranks.sharded = self.trainer.world_size, self.sharded
        self.routing.left_out = frozenset()  # an earlier run may have been interrupted
        self.task_evaluation.start_run()
        keep_functions_of(callbacks_of(self.trainer), self._callback_functions)
        if sources_of_run(self.trainer) is None:
            self.routing.forget()  # what an earlier run was bound to
        if strategy.root_device.type != "cpu":
            # Labels are looked up on the CPU, so that no step waits for the device.
            label_on_cpu(self, self._label_before_transfer)
        if stage == "fit":
            refuse_lost_balancer(self.lost_balancer)
            self._balance.prepare(self, self.trainer)
            fit_to_strategy(self)
            place_logging(self.trainer)

    def _label_before_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch if self.trainer.predicting else self._label(batch)

    @property
    def _callback_functions(self) -> list[list[Any]]:
        """The lists to which callbacks add functions."""
        return [self.train_log.extra_values, self.train_log.listeners, self.penalties]

    # Training

    def on_train_start(self) -> None:
        """Forget an earlier fit, and resume with the random state of the checkpoint, if there is one."""
        self.routing.precision = read_precision(self)
        frozen = self.encoder.frozen_parts() if isinstance(self.encoder, LevelledEncoder) else []
        for part in [*self._frozen, *frozen]:  # the running averages of frozen parts must not change
            part.eval()
        states, self._resumed = self._resumed, None
        if states is not None and self.trainer.ckpt_path:
            resume_random_state(states, self.global_rank, self.trainer.world_size)
        self.unusual = unusual_tensors(self)
        remove_doubles(self._callback_functions)
        self._balance.start()
        refuse_line_search(self)
        self.loss_over_ranks.start(self.trainer.optimizers)
        self.train_log.start(self.trainer)
        self._note_last_batch()  # a run that is resumed within an epoch does not start it
        run_missed_validation(self.trainer)

    def on_train_epoch_start(self) -> None:
        """Note which batch is the last one: its metrics are logged."""
        self._note_last_batch()

    def _note_last_batch(self) -> None:
        self.train_log.last_batch = self.trainer.num_training_batches - 1

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Decide how the gradients of this batch are balanced, before the strategy sees it."""
        self.train_log.begin_batch(self.automatic_optimization)
        self._balance.begin(self, self.trainer, batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Run one batch, and return the loss that is minimised."""
        fit_to_fabric(self)
        with self._balance.forward_pass():
            step = self.run(batch).sort()
        log, every_task = self.train_log, self.routing.every_task_every_step
        losses = self._balance.stack(step, self.device)
        shared = self.loss_over_ranks.over_ranks(step, losses, log.step, every_task=every_task)
        log.add(step, shared.tasks, shared.losses, batch_idx)
        loss = self.loss_over_ranks.total(step, shared, Moment(log.step, self))
        for penalty in self.penalties:
            more = penalty(batch)
            loss = loss if more is None else loss + more
        return self.loss_over_ranks.valued(loss)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Run the backward pass; a gradient balancer may measure the gradients of each task in it."""
        self._balance.backward(loss, super().backward, Moment(self.train_log.step, self), *args, **kwargs)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log losses and metrics every `log_every_n_steps`; without logs, only check that losses are finite."""
        if self.train_log.is_due(self.trainer.global_step):
            self._write_log()

    def on_train_epoch_end(self) -> None:
        """Log what was not logged yet; after the first epoch, warn of tasks that had no labels."""
        if len(self.train_log.history):
            self._write_log()
        self._balance.end_epoch(self.trainer.current_epoch)
        if self.trainer.current_epoch == 0:
            self.train_log.warn_untrained(self.trainer, self.routing)
            self.task_evaluation.warn_never_defined()

    def _write_log(self) -> None:
        self.train_log.write(self.trainer, self)

    def on_train_end(self) -> None:
        """Release the tensors of balancing."""
        self._balance.stop()

    def teardown(self, stage: str) -> None:
        """Remove the functions that callbacks have added to the module."""
        remove_logging(self.trainer)
        keep_functions_of([], self._callback_functions)
        self.routing.precision = None

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add the losses and metrics of one batch."""
        self.task_evaluation.add(self.run(batch), "validate", self.device)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add the losses and metrics of one batch."""
        self.task_evaluation.add(self.run(batch), "test", self.device)

    def on_validation_epoch_start(self) -> None:
        """Discard the sums of an interrupted evaluation."""
        self.task_evaluation.start("validate")

    def on_test_epoch_start(self) -> None:
        """Discard the sums of an interrupted evaluation."""
        self.task_evaluation.start("test")

    def on_validation_epoch_end(self) -> None:
        """Log the losses, metrics and score of the validation split."""
        self._log_evaluation("validate")

    def on_test_epoch_end(self) -> None:
        """Log the losses, metrics and score of the test split."""
        self._log_evaluation("test")

    def _log_evaluation(self, stage: str) -> None:
        log_evaluation(self, self.task_evaluation, stage)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add a description of the model, and the random state of every rank.

        Raises:
            ValueError: A loss was not finite, which may have spoiled the weights; or weights are not.
        """
        self.train_log.refuse_bad_losses()
        if (trainer := trainer_of(self)) is not None:
            save_scored_weights(trainer, self, checkpoint)
        refuse_spoiled(self, checkpoint)
        checkpoint[_RANDOM] = gather_objects(random_state())
        if state := self._balance.state([task.name for task in self.tasks]):
            checkpoint[_BALANCE] = state
        checkpoint[KEY] = description_of(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what the model had learned of its data; random states are kept until training resumes."""
        self._resumed = checkpoint.get(_RANDOM)
        self._balance.load_state(checkpoint.get(_BALANCE, {}), [task.name for task in self.tasks])
        resume_from(self, checkpoint)
        self._match_precision()
