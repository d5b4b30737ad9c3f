"""The multi-task module with one network: a shared encoder and a head per task."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ..adaptation import ANIL, Adam, Adaptation, Norm
from ..balancers import Balancer, Weighting
from ..encoders import Encoder, Features
from ..gradients import Measuring, Scope, Step
from ..heads import through
from ..inputs import RAW, WORDS
from ..task import LEVELS, ROWS, Batch, Task, in_precision, precision_of
from ._adapt import adapt
from ._base import TaskModule
from ._encoding import refuse_misfit, refuse_other_features
from ._export import Exported, export
from ._learner import Learner
from ._prediction import predict
from ._readable import Answer, readable
from ._source_batch import Answer as SourceAnswer
from ._source_batch import SourceBatch, add_results, source_batches
from ._thresholds import tune_thresholds


class MultiTaskModule(TaskModule):
    """Train one network for several tasks: a shared encoder, and a head for each task.

    A batch is `{source: {column: tensor}}`: one source that several tasks read, several sources in one step, or both.
    The encoder runs once for each source. A task's loss is the mean over the examples that have a label for it; where
    none has, the task drops out of the step, and its head gets no gradient. The losses, times their weights, are added
    up and returned as one scalar, so all options of the Trainer work as usual.

    Logged are `<stage>/<task>/<metric>`, `<stage>/<task>/loss` and `<stage>/loss` for the stages train, validate and
    test, and `<stage>/score` for validate and test: every task's first metric, oriented so that higher is better,
    averaged over the tasks. While training, losses are averages over the last `log_every_n_steps`, and metrics are those
    of the last batch; with several processes all of them are over all processes.

    A `balancer` replaces this sum by another rule: a loss balancer combines the losses into one; a gradient balancer
    weighs the gradients that the tasks send into the encoder. With a single task it is left out. `balance` shows how the last step
    was balanced, and `train/<task>/loss_weight` is logged.

    Args:
        tasks: The tasks, with different names.
        encoder: The shared part.
        balancer: How the tasks of a step are balanced: one of `lightning_mtl.balancers`, or a function from the Gramian [K, K] of the
            tasks' gradients to weights [K]. Default: losses are added up.
        scope: Where a gradient balancer measures. "representation": at the features, within the one backward pass, at almost no
            cost. "parameters": the gradients of the encoder's parameters, exactly, which costs a backward pass for each task
            through the examples that it reads. Default: "representation" where the tasks of a step read one representation of the
            same examples, else "parameters".
        weight_heads: Whether a gradient balancer weighs the heads too. Default: each head gets its own gradient.
        refresh_every: Steps for which a gradient balancer's weights are kept.
        sketch: With the scope "parameters", the size of a random sketch of the gradients that is measured in their place: several
            processes then send no more than they do without a balancer. 4096 keeps cosines to 1 to 2 percent.
        gradient_memory: With the scope "parameters", how much memory the tasks' gradients may take while they are measured, in multiples of
            the encoder's parameters; less takes more backward passes. Default: one for each task.
        optimizer: Makes the optimizer from the parameter groups "trunk" and "heads" ("balancer", if it learns). Default: AdamW at
            0.001. For more than that, override `configure_optimizers`.

    Raises:
        ValueError: There is no task, two have the same name, or the direction of a metric is unknown.
        TypeError: `encoder` is not an `Encoder`, or `balancer` not a balancer.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lightning_mtl import Binary, HardSharing, MultiTaskModule, Regression, Task
        >>> tasks = [Task("sick", head=Binary()), Task("days", head=Regression())]
        >>> module = MultiTaskModule(tasks, HardSharing(nn.Linear(5, 16), width=16))
        >>> answers = module({"patients": {"x": torch.ones(3, 5)}})
        >>> {name: tuple(answer.shape) for name, answer in answers.items()}
        {'sick': (3,), 'days': (3,)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        encoder: Encoder,
        *,
        balancer: Balancer | Weighting | None = None,
        scope: Scope | None = None,
        weight_heads: bool = False,
        refresh_every: int = 1,
        sketch: int | None = None,
        gradient_memory: float | None = None,
        optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
    ) -> None:
        measuring = Measuring(scope, weight_heads, refresh_every, sketch, gradient_memory)
        super().__init__(tasks, encoder, balancer=balancer, measuring=measuring, optimizer=optimizer)
        self.predict_tasks: Sequence[str] | None = None
        """Names of the tasks that `Trainer.predict` predicts. Default: all of them."""

    def forward(self, batch: Batch, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the output of each task's head: logits, or scaled values.

        Args:
            batch: {source: {column: tensor}}; target columns may be missing.
            tasks: Names of the tasks to predict. Default: all that read the sources of the batch.

        Returns:
            For each task the output of its head, e.g. [batch, classes].

        Raises:
            ValueError: A task does not exist, or no task reads a source.
        """
        wanted = self.numbers_of(tasks)
        self.routing.bind_batch(batch)
        answers: dict[str, Tensor] = {}
        for source, columns in batch.items():
            readers = [i for i in self.routing.readers(source) if i in wanted]
            if columns is not None and readers:
                for i in readers:
                    self.tasks[i].known_head()
                names = [self.tasks[i].name for i in readers]
                inputs = self.routing.inputs(source, columns)
                inputs = inputs if self.sharded else in_precision(inputs, precision_of(self.encoder))
                answers |= dict(zip(names, self.head_outputs(inputs, readers, columns.get(WORDS)), strict=True))
        return answers

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, list[Answer]]:
        """Return for each task (see `predict_tasks`) an answer for each row, as `predict` does."""
        predictions = self(batch, self.predict_tasks)
        answers = {}
        for source, columns in batch.items():
            for task in (self.tasks[i] for i in self.routing.readers(source) if columns is not None):
                if task.name in predictions:
                    answers[task.name] = readable(task.known_head(), predictions[task.name], columns or {})
        return answers

    def run(self, batch: Batch) -> Step:
        """Compute the losses of the tasks that have labels in this batch; see `TaskModule`."""
        step = Step()
        parts = source_batches(batch, self.routing, sharded=self.sharded, training=self.training)
        for number, (part, answers) in enumerate(zip(parts, self._answers(parts, step), strict=True)):
            add_results(step, number, part, answers, self.tasks, self._losses)
        return step

    def _answers(self, parts: Sequence[SourceBatch], step: Step) -> list[dict[int, SourceAnswer]]:
        """Run encoder and heads, and return for each source what the heads of its tasks returned."""
        cut = self.cut
        encoded = [self._encode(part.inputs, part.read) for part in parts]
        if cut is not None:
            encoded = cut.gated(encoded)
        if encoded:
            step.features = next(values[0] if isinstance(values, tuple) else values for values in encoded[0].values())
        return [
            {
                i: (prediction, *part.labels(self.tasks[i]))
                for i, prediction in zip(
                    part.answered, self._outputs(features, part.answered, part.columns.get(WORDS)), strict=True
                )
            }
            for part, features in zip(parts, encoded, strict=True)
        ]

    def exported(self, tasks: Sequence[int]) -> Exported:
        """Return these tasks as a plain module.

        Args:
            tasks: Their numbers.
        """
        return Exported(self.encoder, [self.tasks[i] for i in tasks], self.hidden_columns(tasks))

    def alone(self, task: Task) -> MultiTaskModule:
        """Make a module for one task, with a copy of the encoder.

        Args:
            task: The task, with a head.
        """
        return MultiTaskModule([task], copy.deepcopy(self.encoder))

    def learner(self, task: int) -> Learner:
        """Return the network and the loss of a task, for adaptation.

        Args:
            task: Its number.
        """
        of = self.tasks[task]
        losses: Any = {of.name: self.losses[of.name]} if of.name in self.losses else {}
        return Learner(of, self.encoder, self.heads[of.name], self._losses[task], losses)

    def usual_method(self, task: Task) -> tuple[Adaptation, Norm]:
        """Return the default adaptation to a new task, and how its batch norms normalise.

        Args:
            task: The new task.
        """
        return ANIL(rate=0.01, steps=100, optimizer=Adam()), "running"

    def initial_head(self, task: Task) -> None:
        """Set the head of a new task to one that was learned for tasks of its kind, if the module has one.

        Args:
            task: The new task.
        """

    def _width(self, task: Task) -> int:
        if task.level != -1 or task.feeds_from:
            raise ValueError(
                f"`level` and `feeds_from` of task {task.name!r} must be left out where the encoder is run as a whole, got {task.level!r} and "
                f"{list(task.feeds_from)}. Use HierarchicalModule."
            )
        return super()._width(task)

    def numbers_of(self, tasks: Sequence[str] | None) -> set[int]:
        """Return the numbers of the tasks with these names; of all tasks, where none are given.

        Raises:
            ValueError: No task has one of these names.
        """
        names = [task.name for task in self.tasks]
        unknown = [name for name in tasks or () if name not in names]
        if unknown or isinstance(tasks, str):
            raise ValueError(f"`tasks` must be a list of names out of {names}, got {tasks!r}.")
        return {i for i, name in enumerate(names) if tasks is None or name in tasks}

    def hidden_columns(self, tasks: Iterable[int]) -> set[str]:
        """Return the columns that the encoder never reads for these tasks, which read one source."""
        read = {self.tasks[i].resolve(self.inputs) for i in tasks} if self.inputs else set()
        others = [task for task in self.tasks if not read or task.resolve(self.inputs) in read]
        return {ROWS, LEVELS, WORDS, RAW, *(column for task in others for column in task.label_columns)}

    def head_outputs(self, inputs: dict[str, Any], tasks: Sequence[int], words: Tensor | None) -> list[Tensor]:
        """Return the outputs of the heads of these tasks.

        Args:
            inputs: The columns that the encoder reads.
            tasks: The numbers of the tasks.
            words: The number of the word that starts at each position, -1 elsewhere.
        """
        return self._outputs(self._encode(inputs, tasks), tasks, words)

    def _encode(self, inputs: dict[str, Any], tasks: Sequence[int]) -> dict[int, Features]:
        names = [self.tasks[i].name for i in tasks]
        try:
            features = self.encoder(inputs, names)
        except (RuntimeError, TypeError) as error:
            refuse_misfit(error, self.encoder, inputs)
            raise
        refuse_other_features(features, names, self.encoder)
        return {i: features[name] for i, name in zip(tasks, names, strict=True)}

    def _outputs(self, features: Mapping[int, Features], tasks: Sequence[int], words: Tensor | None) -> list[Tensor]:
        heads: Any = self.heads._modules  # the look-up of `ModuleDict` costs as much as a small layer
        return [through(heads[self.tasks[i].key], features[i], words) for i in tasks]

    predict, tune_thresholds, export, adapt = predict, tune_thresholds, export, adapt
