"""One task: what it predicts, from which column it learns it, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassF1Score,
    MultilabelAccuracy,
    MultilabelF1Score,
)
from torchmetrics.regression import MeanAbsoluteError, R2Score

from ..heads import Head, Tagging
from ..inputs import WORDS
from ..metrics import SpanF1
from ._labels import aligned, coded, sizes

ROWS = "__rows__"
"""The column of a batch that says which rows have a label: {task name: row numbers}, complete tasks left out.

Of a task that labels each position, the numbers are those of the labelled positions, [batch, length] read row by row.
"""

LEVELS = "__levels__"
"""The column of a batch that says which rows must rise to which level of a hierarchy: {level: row numbers}."""

Loss = Callable[[Tensor, Tensor], Tensor]
Level = int | str | Sequence[int | str]
"""A level by its number or name, or several of them."""


@dataclass(eq=False)
class Task:
    """A task of a multi-task model.

    A task is a description: each module made from it gets its own copy of the head.

    Args:
        name: Name in logs, tables and predictions; must not contain "." or "/".
        source: The source it reads. Default: the one there is, or else the one of the task's own name.
        target: The column of that source that holds its labels, or several columns that one head predicts together. Default:
            the column of the task's own name.
        head: Its own layers: `Binary`, `Multiclass`, `Multilabel`, `Regression`, `Tagging`, `Arcs`, or your own `Head`. Default:
            what fits the column, as `MultiTaskDataModule` finds it: two values or class names make it `Binary`, more of them
            `Multiclass`, numbers `Regression`, a label for each word `Tagging`, lists of labels or several columns of 0
            and 1 `Multilabel`.
        loss: `loss(prediction, target)` over the labelled examples, in the scale of the head's output: a mean (a
            scalar) or one value per example. Default: the head's own.
        metrics: One torchmetrics `Metric`, a list, a dictionary by name, or a `MetricCollection`; they get what
            `head.predict` gives (of words: the labelled ones, [words, tags]). The first one counts for `<stage>/score`.
            Default: accuracy and macro F1 for classes, R² and mean absolute error for numbers, F1 of spans for tags
            such as B-PER, for heads of words the accuracy (unlabelled attachment score). An empty list means none.
        weight: What its loss is multiplied with, for the trunk and the head alike.
        level: Where in a `HierarchicalModule` it is supervised: the number of a level (negative from the top) or its name; or a
            list of these, of which it reads a learned mix.
        auxiliary: Whether it is only trained, for the sake of the others, and not evaluated.
        feeds_from: Names of tasks at lower levels, what they predict being fed into its own level.
        dropout: Share of the shared features that a head found from the data drops while training, in [0, 1). A head that is
            given has a `dropout` of its own.
        weight_decay: What the optimizer takes off its head in each step (see AdamW); its head then is a group "heads/<task>". Default:
            that of the optimizer.
        label_smoothing: Share of a label that a head for classes, found from the data, spreads over all classes while training, in
            [0, 1); losses of evaluation are those without. A head that is given has a `label_smoothing` of its own.

    Raises:
        ValueError: A name that cannot be used, a weight that is not a positive number, a dropout or a label smoothing out of its
            range or beside a head (smoothing: or a loss), a weight decay below 0, no level, or a task that feeds itself.
        TypeError: `head` is no `Head`.

    Example:
        >>> from lightning_mtl import Multiclass, Task
        >>> task = Task("topic", head=Multiclass(4))
        >>> task.column, sorted(task.metric_collection())
        ('topic', ['accuracy', 'f1'])
    """

    name: str
    source: str | None = None
    _: KW_ONLY
    target: str | Sequence[str] | None = None
    head: Head | None = None
    loss: Loss | None = None
    metrics: Metric | Sequence[Metric] | Mapping[str, Metric] | MetricCollection | None = None
    weight: float = 1.0
    level: Level = -1
    auxiliary: bool = False
    feeds_from: Sequence[str] = ()
    dropout: float = 0.0
    weight_decay: float | None = None
    label_smoothing: float = 0.0
    column: str = field(init=False)
    """The column of its labels in a batch: `target`, or else its name."""
    columns: list[str] = field(init=False)
    """The columns of the dataset that hold its labels; several make one in a batch."""

    def __post_init__(self) -> None:
        if not self.name or "." in self.name or "/" in self.name or self.name in dir(nn.ModuleDict):
            raise ValueError(
                f"`name` of a task must be a word without '.' or '/' that torch.nn.ModuleDict does not use itself, "
                f"got {self.name!r}. Choose another, e.g. {self.name.replace('.', '_').replace('/', '_') + '_task'!r}."
            )
        if self.head is not None and not isinstance(self.head, Head):
            raise TypeError(
                f"`head` of task {self.name!r} must be a Head, got {type(self.head).__name__}. Give your own layers to "
                "one, e.g. Multiclass(4, layers=...), or subclass Head."
            )
        if not 0 < self.weight < float("inf"):
            raise ValueError(
                f"`weight` of task {self.name!r} must be a positive number, got {self.weight}. Leave the task out to "
                "train without it."
            )
        self._refuse_habits()
        named = [self.level] if isinstance(self.level, str) or not isinstance(self.level, Sequence) else self.level
        if not all(isinstance(level, int | str) and not isinstance(level, bool) for level in named):
            raise ValueError(
                f"`level` of task {self.name!r} must be the number or the name of a level, or a list of these, got {self.level!r}."
            )
        self.level = self.level if isinstance(self.level, int | str) else list(self.level)
        if not isinstance(self.level, int) and not self.level:
            raise ValueError(
                f"`level` of task {self.name!r} must name a level, got {self.level!r}. Leave it out for the top."
            )
        if isinstance(self.feeds_from, str) or self.name in self.feeds_from:
            raise ValueError(
                f"`feeds_from` of task {self.name!r} must be a list of names of other tasks, got {self.feeds_from!r}. Name tasks at "
                "lower levels."
            )
        self.feeds_from = tuple(self.feeds_from)
        self.columns = [self.target or self.name] if isinstance(self.target, str | None) else list(self.target)
        if not self.columns:
            raise ValueError(f"`target` of task {self.name!r} must name at least one column, got none.")
        self.column = self.columns[0] if len(self.columns) == 1 else self.name

    def _refuse_habits(self) -> None:
        """Look at what is said of how its head is trained."""
        if not 0 <= self.dropout < 1 or (self.dropout and self.head is not None):
            raise ValueError(
                f"`dropout` of task {self.name!r} must lie in [0, 1), and be left out beside a `head`, got {self.dropout}. Give it "
                "to the head: head=Regression(dropout=0.1)."
            )
        if self.weight_decay is not None and not 0 <= self.weight_decay < float("inf"):
            raise ValueError(
                f"`weight_decay` of task {self.name!r} must be finite and at least 0, got {self.weight_decay}. 0 turns it off."
            )
        alone = self.head is None and self.loss is None
        if not 0 <= self.label_smoothing < 1 or (self.label_smoothing and not alone):
            raise ValueError(
                f"`label_smoothing` of task {self.name!r} must lie in [0, 1), and be left out beside a `head` or a `loss`, got "
                f"{self.label_smoothing}. Give it to the head: head=Multiclass(4, label_smoothing=0.1)."
            )

    def resolve(self, sources: Iterable[str]) -> str:
        """Name the source that this task reads, out of all that there are."""
        names = list(sources)
        if self.source is not None or len(names) != 1:
            wanted = self.source or self.name
            if wanted not in names:
                raise ValueError(
                    f"Task {self.name!r} reads source {wanted!r}; sources are {names}. Give `MultiTaskDataModule` a "
                    f"dataset named {wanted!r}, or name one of these: Task({self.name!r}, {names[0]!r})."
                )
            return wanted
        return names[0]

    def metric_collection(self) -> MetricCollection:
        """Make fresh metrics of this task."""
        metrics = self._metrics()
        return metrics.clone() if isinstance(metrics, MetricCollection) else MetricCollection(dict(metrics)).clone()

    def main_metric(self) -> tuple[str, int] | None:
        """Name the metric that counts for the score, and say whether higher (1) or lower (-1) is better.

        Returns:
            Nothing for a task without metrics, which does not count for the score.

        Raises:
            ValueError: The first metric does not say which way is better.
        """
        name, metric = next(iter(self._metrics().items()), ("", None))
        if metric is None:
            return None
        better = metric.higher_is_better if isinstance(metric, Metric) else None
        if better is None:
            raise ValueError(
                f"The first of the `metrics` of task {self.name!r} must say whether higher is better, since it counts for "
                f"the score; got {type(metric).__name__}. Put one first whose `higher_is_better` is true or false."
            )
        return name, 1 if better else -1

    def label(self, columns: dict[str, Any], where: str = "row") -> None:
        """Bring this task's target in a batch into the head's form, and note the rows that have a label.

        Writes `columns[self.column]` and, where labels are missing, `columns[ROWS]`. It runs in the process that loads the
        data, before the batch goes to the device, so that the step itself never has to wait for the device.

        Args:
            columns: The batch of one source.
            where: What a row is called in an error message.

        Raises:
            ValueError: A label of the wrong shape or out of the head's range, with its row and value.
        """
        head = self.known_head()
        target = given = self._target(columns)
        if target is None:
            columns.setdefault(ROWS, {})[self.name] = torch.zeros(0, dtype=torch.long)
            return
        target = coded(target, head, lambda row, value: self._refuse_value(row, value, where))
        if not isinstance(target, Tensor):
            first = next(iter(target), None)
            raise ValueError(
                f"Column {self.column!r} of task {self.name!r} must hold numbers, got {type(first).__name__} (first: {first!r}). "
                "Read the data with `MultiTaskDataModule`, which names the classes, or code it as class numbers."
            )
        plain = head.per_position or (target.ndim == 1 and not head.label_shape)
        if target.dtype is not head.dtype or not (plain or target.shape[1:] == head.label_shape):
            target = self._converted(target, head, where)
        if head.points:  # while labels are numbers of words
            beyond = target > sizes(given, target).unsqueeze(1)
            self._refuse(head.labelled(target) & (beyond | ~head.valid(target)), target, where)
        if head.per_position and WORDS in columns:
            words = columns[WORDS]
            target = aligned(target, words, lambda row, value: self._refuse_value(row, value, where))
            target = head.place(target, words)
        columns[self.column] = target
        if target.numel() and head.complete(target):
            return
        known = head.labelled(target)
        self._refuse(known & ~head.valid(target), target, where)
        has_label = known.flatten() if head.per_position else known.reshape(len(target), -1).any(-1)
        if len(target) == 0 or not has_label.all():
            columns.setdefault(ROWS, {})[self.name] = has_label.nonzero().squeeze(-1)

    def known_head(self) -> Head:
        """Give the head.

        Raises:
            ValueError: None was given, and no data told which one fits.
        """
        if self.head is None:
            raise ValueError(
                f"Task {self.name!r} needs a `head`, which only `MultiTaskDataModule` finds out from the data. Read the data "
                f"with it, or give the head: Task({self.name!r}, head=Multiclass(4))."
            )
        return self.head

    def fit_out(self, head: Head) -> Head:
        """Give a head that was found for this task the task's dropout and label smoothing.

        Args:
            head: The head; it is changed in place.

        Raises:
            ValueError: Labels are to be smoothed that are no classes.
        """
        if self.label_smoothing and not head.smooths:
            raise ValueError(
                f"`label_smoothing` of task {self.name!r} must be left out for {type(head).__name__}, whose labels are no classes, "
                f"got {self.label_smoothing}. Use `dropout` or `weight_decay`."
            )
        if self.dropout:
            head.set_dropout(self.dropout)
        if self.label_smoothing:
            head.set_label_smoothing(self.label_smoothing)
        return head

    def take(self, head: Head) -> None:
        """Take a head that was found, which has this task's dropout and label smoothing from now on; see `fit_out`."""
        self.head, self.dropout, self.label_smoothing = self.fit_out(head), 0.0, 0.0

    def _target(self, columns: Mapping[str, Any]) -> Any:
        if len(self.columns) == 1 or self.column in columns:
            return columns.get(self.column)
        parts = [columns[name] for name in self.columns if name in columns]
        if len(parts) < len(self.columns):
            return None
        if not all(isinstance(part, Tensor) for part in parts):
            raise ValueError(
                f"The columns {self.columns} of task {self.name!r} must hold numbers. Make each a task of its own."
            )
        return torch.stack([part.double() for part in parts], dim=-1)

    def _refuse_value(self, row: int, value: Any, where: str) -> NoReturn:
        names = getattr(self.head, "names", None) or []
        known = (
            f"one of {names}" if len(names) <= 12 else f"one of {len(names)} names ({names[0]!r}, {names[1]!r}, ...)"
        )
        raise ValueError(
            f"Task {self.name!r}: a label in column {self.column!r} must be {known if names else 'as the head has it'}; {where} "
            f"{row} has {value!r}. Mend the data; or give the task a head with all names, e.g. Multiclass(3, names=['a', 'b', 'c'])."
        )

    def _converted(self, target: Tensor, head: Head, where: str) -> Tensor:
        if target.shape[1:] != head.label_shape and not head.per_position:
            if target[0:1].numel() != torch.Size(head.label_shape).numel():
                raise ValueError(
                    f"Column {self.column!r} of task {self.name!r} must have shape [batch{_dims(head.label_shape)}] for "
                    f"{type(head).__name__}, got [batch{_dims(tuple(target.shape[1:]))}]. Change the column or the head."
                )
            target = target.reshape(len(target), *head.label_shape)
        if target.is_floating_point() and not head.dtype.is_floating_point:
            target = target.nan_to_num(nan=-100.0)
            self._refuse(target != target.trunc(), target, where)
        floats = target.is_floating_point() and head.dtype.is_floating_point
        return target if floats else target.to(head.dtype)

    def _refuse(self, bad: Tensor, target: Tensor, where: str) -> None:
        if bad.any():
            first = bad.nonzero()[0].tolist()
            raise ValueError(
                f"Task {self.name!r}: a label in column {self.column!r} must be {self.known_head().label_rule}; {where} {first[0]} "
                f"has {target[tuple(first)].item()}. Mend the data, or give the task a head that fits."
            )

    def _metrics(self) -> Mapping[str, Metric] | MetricCollection:
        if self.auxiliary:
            return {}
        match self.metrics:
            case None:
                return self._default_metrics()
            case Metric():
                return {type(self.metrics).__name__: self.metrics}
            case MetricCollection() | Mapping():
                return self.metrics
        named = {type(metric).__name__: metric for metric in self.metrics}
        if len(named) < len(self.metrics):
            raise ValueError(
                f"`metrics` of task {self.name!r} must be of different classes where they have no names, got "
                f"{[type(metric).__name__ for metric in self.metrics]}. Name them: metrics={{'micro': ..., 'macro': ...}}."
            )
        return named

    def _default_metrics(self) -> dict[str, Metric]:
        head = self.known_head()
        n = head.outputs
        match head.kind:  # labels are checked in `label`, once
            case "binary":
                return {"accuracy": BinaryAccuracy(validate_args=False), "f1": BinaryF1Score(validate_args=False)}
            case "multiclass":
                return {
                    "accuracy": MulticlassAccuracy(n, average="micro", validate_args=False),
                    "f1": MulticlassF1Score(n, average="macro", validate_args=False),
                }
            case "multilabel":
                return {
                    "f1": MultilabelF1Score(n, average="macro", ignore_index=-100, validate_args=False),
                    "accuracy": MultilabelAccuracy(n, ignore_index=-100, validate_args=False),
                }
            case "tagging":
                accuracy = MulticlassAccuracy(n, average="micro", validate_args=False)
                if isinstance(head, Tagging) and head.iob:
                    return {"f1": SpanF1(cast(list[str], head.names)), "accuracy": accuracy}
                return {"accuracy": accuracy, "f1": MulticlassF1Score(n, average="macro", validate_args=False)}
            case (
                "arcs"
            ):  # the number of classes is that of a batch's positions, and counts for nothing in a micro average
                return {"accuracy": MulticlassAccuracy(2, average="micro", validate_args=False)}
            case "regression":
                return {"r2": _r2(n), "mae": MeanAbsoluteError()}
        raise ValueError(f"Task {self.name!r}: give `metrics`, since {type(head).__name__} names no known kind.")


def _r2(outputs: int) -> R2Score:
    metric = R2Score()
    if outputs > 1:  # torchmetrics learns the shape from the first update; a rank may have none
        for state in ("sum_squared_error", "sum_error", "residual"):
            metric.add_state(state, torch.zeros(outputs), dist_reduce_fx="sum")
    return metric


def _dims(shape: Sequence[int]) -> str:
    return "".join(f", {n}" for n in shape)
