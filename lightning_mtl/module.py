"""The multi-task module with one network: a shared encoder and a head per task."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ._module import Step, TaskModule
from ._routing import Batch
from .encoders import Encoder
from .task import ROWS, Task


class MultiTaskModule(TaskModule):
    """Train one network for several tasks: a shared encoder, and a head for each task.

    A batch is `{source: {column: tensor}}`: one source that several tasks read, several sources in one step, or both.
    The encoder runs once for each source. A task's loss is the mean over the examples that have a label for it; where
    none has, the task drops out of the step, and its head gets no gradient. The losses, times their weights, are added
    up and returned as one scalar, so every flag of the Trainer does what it always does.

    Logged are `<stage>/<task>/<metric>`, `<stage>/<task>/loss` and `<stage>/loss` for the stages train, validate and
    test, and `<stage>/score` for validate and test: every task's first metric, oriented so that higher is better,
    averaged over the tasks. While training, losses are averages over the last `log_every_n_steps`, and metrics are those
    of the last batch; with several processes all of them are over all processes.

    Args:
        tasks: The tasks, with different names.
        encoder: The shared part.
        optimizer: Makes the optimizer from the parameter groups "trunk" and "heads". Default: AdamW at 0.001. For more
            than that, override `configure_optimizers`.

    Raises:
        ValueError: There is no task, two have one name, or one has no metric that says which way is better.
        TypeError: `encoder` is no `Encoder`.

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
        optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
    ) -> None:
        super().__init__(tasks, encoder, optimizer=optimizer)
        self.predict_tasks: Sequence[str] | None = None
        """Names of the tasks that `Trainer.predict` predicts. Default: all of them."""

    def forward(self, batch: Batch, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Predict in the scale of the losses, e.g. logits.

        Args:
            batch: {source: {column: tensor}}; target columns may be missing.
            tasks: Names of the tasks to predict. Default: all that read the sources of the batch.

        Returns:
            For each task the output of its head, e.g. [batch, classes].

        Raises:
            ValueError: A task that there is not, or a source that no task reads.
        """
        wanted = self._wanted(tasks)
        self.routing.settle(batch)
        answers: dict[str, Tensor] = {}
        for source, columns in batch.items():
            readers = [i for i in self.routing.readers(source) if i in wanted]
            if columns is not None and readers:
                names = [self.tasks[i].name for i in readers]
                answers |= dict(zip(names, self._answer(source, columns, readers), strict=True))
        return answers

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Predict what users read: probabilities for classes, values for numbers; see `predict_tasks`."""
        heads: Any = self.heads
        return {name: heads[name].predict(answer) for name, answer in self(batch, self.predict_tasks).items()}

    def run(self, batch: Batch) -> Step:
        """Compute the losses of the tasks that have labels in this batch."""
        step, tasks, routing = Step(), self.tasks, self.routing
        for source, columns in routing.label(batch).items():
            rows = columns[ROWS]
            present: Sequence[int] = routing.readers(source)
            if rows:
                present = [i for i in present if len(rows.get(tasks[i].name, "all"))]
            if not present:
                continue
            for i, prediction in zip(present, self._answer(source, columns, present), strict=True):
                task = tasks[i]
                target: Tensor = columns[task.column]
                if task.name in rows:
                    prediction, target = prediction[rows[task.name]], target[rows[task.name]]
                loss = self._losses[i](prediction, target)
                step.tasks.append(i)
                step.losses.append(loss.mean() if loss.ndim else loss)
                step.answers.append((prediction, target))
        return step

    def export(self, task: str) -> nn.Module:
        """Cut out a plain `nn.Module` for one task: the encoder and this task's head, copied, in evaluation mode.

        It takes the input columns of the task's source as one dictionary and gives what `forward` gives for the task.

        Args:
            task: Name of the task.

        Raises:
            ValueError: There is no such task.
        """
        (index,) = self._wanted([task])
        hidden = {ROWS, *(other.column for other in self.tasks)}
        return _Exported(copy.deepcopy(self.encoder), copy.deepcopy(self.heads[task]), self.tasks[index], hidden).eval()

    def _wanted(self, tasks: Sequence[str] | None) -> set[int]:
        names = [task.name for task in self.tasks]
        unknown = [name for name in tasks or () if name not in names]
        if unknown or isinstance(tasks, str):
            raise ValueError(f"`tasks` must be a list of names out of {names}, got {tasks!r}.")
        return {i for i, name in enumerate(names) if tasks is None or name in tasks}

    def _answer(self, source: str, columns: Mapping[str, Any], tasks: Sequence[int]) -> list[Tensor]:
        names = [self.tasks[i].name for i in tasks]
        features = self.encoder(self.routing.inputs(source, columns), names)
        heads: Any = self.heads._modules  # its own look-up costs as much as a small layer
        read = [(heads[name], features[name]) for name in names]
        return [head(*of) if isinstance(of, tuple) else head(of) for head, of in read]


class _Exported(nn.Module):
    def __init__(self, encoder: Encoder, head: nn.Module, task: Task, hidden: set[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.task = task.name
        self.hidden = hidden

    def forward(self, inputs: dict[str, Any]) -> Tensor:
        inputs = {name: column for name, column in inputs.items() if name not in self.hidden}
        features = self.encoder(inputs, [self.task])[self.task]
        prediction: Tensor = self.head(*features) if isinstance(features, tuple) else self.head(features)
        return prediction
