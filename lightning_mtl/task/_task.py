"""One task: what it predicts, which column holds its labels, and how it is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from .._plain import escaped
from ..heads import Head, module_key
from ._arguments import (
    refuse_feeds,
    refuse_head,
    refuse_level,
    refuse_loss,
    refuse_name,
    refuse_regularization,
    refuse_score,
    refuse_weight,
)
from ._batch_columns import ROWS
from ._constants import KEPT, constants_of, known_constants
from ._default_metrics import default_metrics, named_metrics
from ._scoring import Score, Scoring, scoring_of
from ._target import Target

Loss = Callable[[Tensor, Tensor], Tensor]
Level = int | str | Sequence[int | str]
"""A level by its number or name, or several of them."""


@dataclass(eq=False)
class Task:
    """A task of a multi-task model.

    A task is a description: each module made from it gets its own copy of the head.

    Args:
        name: Name in logs, tables and predictions: any text. In keys what has a meaning there is escaped, e.g. "/" as "%2F" in
            "<stage>/<task>/<metric>".
        source: The source that it reads. Default: the only source, or else the source with the name of the task.
        target: The column of that source that holds its labels, or several columns that one head predicts together. Default:
            the column with the name of the task.
        head: Its own layers: `Binary`, `Multiclass`, `Multilabel`, `Regression`, `Tagging`, `Arcs`, or your own `Head`. Default:
            the head that fits the column, which `MultiTaskDataModule` infers: two values or class names give `Binary`, more of
            them `Multiclass`, numbers `Regression`, a label for each word `Tagging`, lists of labels or several columns of 0
            and 1 `Multilabel`.
        loss: `loss(prediction, target)` over the labelled examples, where `prediction` is the output of the head (logits for
            classes): a mean (a scalar) or one value per example. Default: the loss of the head.
        metrics: One torchmetrics `Metric`, a list, a dictionary by name, or a `MetricCollection`; they get the result of
            `head.predict` (of words: the labelled ones, [words, tags]). The first one counts for `<stage>/score`, see `score`.
            Default: accuracy and macro F1 for classes, R² and mean absolute error for numbers, F1 of spans for tags
            such as B-PER, accuracy for dependency arcs (unlabelled attachment score). An empty list means none.
        weight: Factor of its loss, for the trunk and for the head.
        level: The level of a `HierarchicalModule` at which it is supervised: its number (negative from the top) or its name; or a
            list of these, of which the task reads a learned mix.
        auxiliary: Whether it is only trained, for the benefit of the other tasks, and not evaluated.
        feeds_from: Names of tasks at lower levels whose predictions are fed into its level.
        dropout: Share of the shared features that an inferred head drops while training, in [0, 1). A head that is given has a
            `dropout` of its own.
        weight_decay: The weight decay of its head (see AdamW), which then is a parameter group "heads/<task>". Default: that of the
            optimizer.
        label_smoothing: Share of a label that an inferred head for classes spreads over all classes while training, in [0, 1); the
            losses of evaluation are without it. A head that is given has a `label_smoothing` of its own.
        score: What counts for `<stage>/score`: the name of one of its `metrics`, or a function from the value of the first metric to a
            score, higher is better. Default: a metric that declares its highest value (torchmetrics' `plot_upper_bound`), such as accuracy,
            F1, AUROC, R² or a correlation, counts as it is, or, where lower is better, by how far it stays below that value. Others,
            such as the mean absolute error, count as a share of a plain baseline's: 1 - error / error of the mean or the median of the
            training labels, whichever is better (for classes: of their shares), on the same rows.

    Raises:
        ValueError: A name that cannot be used, a weight that is not a positive number, a dropout or a label smoothing that is out
            of its range or given beside a head (label smoothing: or beside a loss), a weight decay below 0, no level, or a task
            that feeds itself.
        TypeError: `head` is no `Head`, or `score` neither a name nor a function.

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
    score: Score | None = None
    column: str = field(init=False)
    """The column of its labels in a batch: `target`, or else its name."""
    key: str = field(init=False)
    """The name of its modules: its name, in which what `torch` reserves is escaped."""
    log_name: str = field(init=False)
    """Its name in the keys of logs, "<stage>/<task>/<metric>", in which "/" is escaped."""
    columns: list[str] = field(init=False)
    """The columns of the dataset that hold its labels; several make one in a batch."""

    def __post_init__(self) -> None:
        refuse_name(self.name)
        self.key, self.log_name = module_key(self.name), escaped(self.name)
        refuse_head(self.name, self.head)
        refuse_loss(self.name, self.loss)
        refuse_weight(self.name, self.weight)
        refuse_regularization(
            self.name,
            dropout=self.dropout,
            weight_decay=self.weight_decay,
            label_smoothing=self.label_smoothing,
            head=self.head is not None,
            loss=self.loss is not None,
        )
        refuse_score(self.name, self.score)
        refuse_level(self.name, self.level)
        refuse_feeds(self.name, self.feeds_from)
        self.level = self.level if isinstance(self.level, int | str) else list(self.level)
        self.feeds_from = tuple(self.feeds_from)
        self.columns = [self.target or self.name] if isinstance(self.target, str | None) else list(self.target)
        if not self.columns:
            raise ValueError(f"`target` of task {self.name!r} must name at least one column, got none.")
        self.column = self.columns[0] if len(self.columns) == 1 else self.name

    def resolve(self, sources: Iterable[str]) -> str:
        """Return the name of the source that this task reads, out of the names of all sources."""
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
        """Create the metrics of this task."""
        metrics = self._metrics()
        made = metrics if isinstance(metrics, MetricCollection) else MetricCollection(dict(metrics))
        return made if self.metrics is None else made.clone()  # those of the user stay as they are

    def main_metric(self) -> tuple[str, int] | None:
        """Return the name of the metric that counts for the score, and whether higher (1) or lower (-1) is better; see `scoring`."""
        scoring = self.scoring()
        return None if scoring is None else (scoring.metric, scoring.sign)

    def scoring(self) -> Scoring | None:
        """Return how the value of its main metric becomes its score.

        Returns:
            None for a task without metrics.

        Raises:
            ValueError: The metric does not say whether higher is better, or `score` names none.
        """
        return scoring_of(self.name, dict(self._metrics().items()), self.score)

    def fit(self, target: Tensor) -> None:
        """Let the head learn from the labels of all training examples; see `Head.fit`.

        Args:
            target: All labels that are not missing, in the head's form.
        """
        head = self.known_head()
        if not head.fitted:
            head.fit(target)
            head.fitted = True  # a trained model keeps what it knows of its labels
        if self.lacks_constants:
            head.restore({**head.learned(), KEPT: constants_of(head, target)})

    @property
    def lacks_constants(self) -> bool:
        """Whether its score is a share of a plain baseline's, whose predictions are not known."""
        scoring = self.scoring()
        return scoring is not None and scoring.needs_baseline and not known_constants(self.known_head())

    def label(self, columns: dict[str, Any], where: str = "row") -> None:
        """Convert this task's target in a batch into the form of its head, and note the rows that have a label.

        This writes `columns[self.column]` and, where labels are missing, `columns[ROWS]`; of several tasks see `label_tasks`. It
        runs in the process that loads the data, before the batch goes to the device, so that the training step never waits for it.

        Args:
            columns: The batch of one source.
            where: What a row is called in an error message.

        Raises:
            ValueError: A label of the wrong shape or out of the head's range, with its row and value.
        """
        labels, rows = self.read(columns, where)
        if labels is not None:
            columns[self.column] = labels
        if rows is not None:
            columns.setdefault(ROWS, {})[self.name] = rows

    def read(
        self, columns: Mapping[str, Any], where: str = "row", taken: Collection[str] = (), *, coded: bool = True
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return this task's labels of a batch in the form of its head, and the numbers of the rows that have one; see `label`.

        Args:
            columns: The batch of one source, which stays as it is.
            where: What a row is called in an error message.
            taken: Columns of the batch that hold the labels of other tasks.
            coded: Whether labels are as a batch holds them (see `Head.code`), or as exact as they were given, to learn from.

        Returns:
            None for labels that the batch does not have; None for the rows where each has a label.
        """
        return Target(self.name, self.column, self.columns, self.known_head(), where, taken).of(columns, coded=coded)

    @property
    def own_column(self) -> str:
        """The column of its labels in a batch where another task codes the same column in another way."""
        return f"__labels__.{self.name}"

    @property
    def label_columns(self) -> set[str]:
        """All columns of a batch that may hold its labels, which are no inputs."""
        return {self.own_column, self.column, *self.columns}

    def labels_in(self, columns: Mapping[str, Any]) -> Any:
        """Return this task's labels in a batch that is labelled; None where it has none."""
        own = columns.get(self.own_column)
        return columns.get(self.column) if own is None else own

    def known_head(self) -> Head:
        """Return the head.

        Raises:
            ValueError: None was given, and none was inferred.
        """
        if self.head is None:
            raise ValueError(
                f"Task {self.name!r} needs a `head`, which only `MultiTaskDataModule` can infer from the data. Read the data "
                f"with it, or give the head: Task({self.name!r}, head=Multiclass(4))."
            )
        return self.head

    def fit_out(self, head: Head) -> Head:
        """Set the dropout and the label smoothing of this task on a head that was inferred for it.

        Args:
            head: The head; it is changed in place.

        Raises:
            ValueError: There is a label smoothing, but the labels of the head are no classes.
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
        """Take an inferred head, with the dropout and the label smoothing of this task; see `fit_out`."""
        self.head, self.dropout, self.label_smoothing = self.fit_out(head), 0.0, 0.0

    def _metrics(self) -> Mapping[str, Metric] | MetricCollection:
        if self.auxiliary:
            return {}
        if self.metrics is None:
            return default_metrics(self.name, self.known_head())
        return named_metrics(self.name, self.metrics)
