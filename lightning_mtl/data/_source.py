"""One source of examples: a dataset and its input columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader, SequentialSampler

from .._checks import require_number
from ..encoders import Tokenizer
from ..files import Cells
from ..inputs import Columns, Inputs
from ..samplers import Flow
from ._columns import refuse_no_mapping, refuse_unknown_columns
from ._doubts import refuse_doubtful, refuse_unused
from ._examples import Examples
from ._input_columns import InputColumns
from ._iterables import first_rows, flow_of, is_iterable
from ._prepared import PreparedRows
from ._readings import Readings
from ._ready_loader import own_batches
from ._rows import rows_of

SPLITS = ("train", "validation", "test", "predict")
SAMPLE = 10_000
"""Rows of a stream that are read before training."""


class Source:
    """A dataset with its input columns.

    Rows are mappings of columns. Where no input column is named, every column that is no target of a task is an input, and
    the encoder gets it as it is.

    Args:
        dataset: A file (CSV, TSV, JSON, JSONL, Parquet, CoNLL-U), a Hugging Face `Dataset` or `DatasetDict`, a DataFrame, a list
            of mappings, any map-style dataset of mappings, a ready `DataLoader` over one, an iterable of mappings (a Hugging Face
            or PyTorch `IterableDataset`), or a dictionary of these for the splits "train", "validation", "test" and "predict".
            One dataset alone is the split "train". Of a ready loader, the dataset, batches and collate are used; the workers of
            the data module read it. A training split that is an iterable is read as a stream: columns, labels and scales are
            those of its first 10,000 rows. In other splits an iterable is read into memory.
        text: Column of texts, or two columns of pairs of texts, for the encoder's tokenizer.
        words: Column of lists of words, for tasks that label each word.
        features: Numeric and categorical columns of a table, which become one column "features", [batch, features], with the
            scales and categories of the training split (see `lightning_mtl.inputs.Table`).
        image: Column of images, which becomes "image", [batch, channels, height, width] (see `lightning_mtl.inputs.Image`).
        transform: Your own function for the input columns: from {column: list of values} of a batch to {column: tensor}.
        batch_size: Rows of this source in a step. Default: that of the data module.
        rows: Number of rows of a training split that is read as a stream, for rules and epochs that need it.
        collate: Your own function for a whole batch: from a list of rows to {column: tensor}, target columns included.
        cells: What cells mean that can be read in two ways. Default: as they surely are.

    Raises:
        ValueError: An unknown split, input columns that exclude each other, or a column whose cells can be read in two ways.
        TypeError: `dataset` is no dataset.

    Example:
        >>> rows = [{"review": "fine", "stars": 4}, {"review": "a waste of time", "stars": 1}]
        >>> source = Source({"train": rows}, text="review")
        >>> source.columns("train")
        ['review', 'stars']
    """

    def __init__(
        self,
        dataset: Any,
        *,
        text: str | Sequence[str] | None = None,
        words: str | None = None,
        features: Sequence[str] | None = None,
        image: str | None = None,
        transform: Callable[[dict[str, list[Any]]], dict[str, Any]] | None = None,
        batch_size: int | None = None,
        rows: int | None = None,
        collate: Callable[[list[Any]], dict[str, Any]] | None = None,
        cells: Cells | None = None,
    ) -> None:
        splits = dataset if isinstance(dataset, Mapping) else {"train": dataset}
        if unknown := [split for split in splits if split not in SPLITS]:
            raise ValueError(f"`dataset` must have splits out of {list(SPLITS)}, got {unknown}. Rename them.")
        remedy = "Leave it out for that of the data module."
        require_number("batch_size", batch_size, remedy, at_least=1, whole=True, optional=True)
        require_number("rows", rows, "Leave it out.", at_least=1, whole=True, optional=True)
        self.text = [text] if isinstance(text, str) else list(text or ())
        self.words = words
        self.features = [features] if isinstance(features, str) else list(features or ())
        self.image = image
        self.transform = transform
        self.batch_size = batch_size
        self.collate = collate
        self.cells = cells
        self._input_columns()
        self.loaders = {split: data for split, data in splits.items() if isinstance(data, DataLoader)}
        self.stream: Any = None
        """The training split, where it can only be read as a stream."""
        self.rows: int | None = None
        self.splits = {split: self._rows(split, data) for split, data in splits.items()}
        if rows is not None and self.stream is None:
            raise ValueError(
                f"`rows` must be the number of rows of a training split that is read as a stream, got {rows}. Leave it out."
            )
        self.rows = self.rows if rows is None else rows
        self.readings = Readings(self.splits)
        """The splits as they are read before training."""
        refuse_unused(cells, self.stream, self.columns, self.splits)
        refuse_doubtful(self.splits.get("train"), self.features, cells, target=False)
        self._prepared = PreparedRows()

    def _rows(self, split: str, data: Any) -> Any:
        if not is_iterable(data):
            return rows_of(data, self.cells)
        iterable = data.dataset if isinstance(data, DataLoader) else data
        if split != "train":
            return first_rows(iterable)[0]
        first, self.stream = first_rows(iterable, SAMPLE)
        self.rows = len(first) if len(first) < SAMPLE else None
        return first

    @property
    def goes_on(self) -> bool:
        """Whether the training split is a stream that may have more rows than those that were read before training."""
        seen = len(self.splits.get("train", ()))
        return self.stream is not None and (self.rows is None or self.rows > seen)

    def flow(self, batch: int, name: str, rank: int, ranks: int) -> Flow:
        """Return the training split as a stream that a sampler can draw from.

        Args:
            batch: Rows of a global batch.
            name: Name of the source, for error messages.
            rank: Number of this rank.
            ranks: Number of ranks: a Hugging Face stream is sharded, of any other each rank keeps its part.
        """
        seen = self.splits["train"]
        return flow_of(self.stream, seen, batch, name=name, size=self.rows, rank=rank, ranks=ranks)

    def given(self, inputs: Inputs, targets: Sequence[str] | None) -> Examples:
        """Return what turns rows of the stream into batches of tensors."""
        rows = Examples((), self.as_collated("train", inputs), targets, given=True)
        rows.looks = self.goes_on
        return rows

    def as_collated(self, split: str, inputs: Inputs) -> Inputs:
        """Return inputs that use the collate of the split, where it has one."""
        own = self._collate(split)
        return inputs if own is None or own is inputs.whole else Inputs([], whole=own, leave_out=inputs.leave_out)

    def _input_columns(self) -> InputColumns:
        return InputColumns(self.text, self.words, self.features, self.image, self.transform)

    @property
    def named(self) -> list[str]:
        """The columns that are named as inputs."""
        return self._input_columns().named

    def columns(self, split: str) -> list[str]:
        """Return the names of the columns of a split; of rows without a schema, those of the first row."""
        names = self.readings.column_names(split)
        if names is not None:
            return names
        collate, row = self._collate(split), self.readings.first_row(split)
        first = collate([row]) if collate else row
        refuse_no_mapping(first, 0)
        return list(first)

    def inputs(
        self, tokenizer: Tokenizer | None, targets: Sequence[str] | None, name: str = "", not_inputs: Iterable[str] = ()
    ) -> Inputs:
        """Return how the input columns become tensors, fitted to the training split; see `draft` and `fit`."""
        inputs = self.draft(tokenizer, targets, name, not_inputs)
        self.fit(inputs, name)
        return inputs

    def draft(
        self, tokenizer: Tokenizer | None, targets: Sequence[str] | None, name: str = "", not_inputs: Iterable[str] = ()
    ) -> Inputs:
        """Return how the input columns become tensors, before anything is learned from rows.

        Args:
            tokenizer: What turns texts into tensors.
            targets: Columns that tasks learn from. Default: none is known, so every column is an input.
            name: Name of the source, for error messages.
            not_inputs: Columns that are left out unless they are targets.

        Raises:
            ValueError: A text without a tokenizer, or a column that does not exist.
        """
        split = "train" if "train" in self.splits else next(iter(self.splits))
        self._refuse_empty(split, name)
        hidden = set(not_inputs) - set(targets or ())
        if collate := self._collate(split):
            return Inputs([], whole=collate, leave_out=hidden)
        columns = self._input_columns()
        columns.refuse_no_tokenizer(tokenizer, name)
        there = self.columns(split)
        refuse_unknown_columns(columns.named, there, split, name)
        hidden |= set(targets or ())
        others = [column for column in there if column not in hidden]
        return Inputs(columns.parts(tokenizer, next(iter(self.splits.values())), others, self.cells))

    def fit(self, inputs: Inputs, name: str = "") -> None:
        """Let inputs learn their scales and categories from the training split.

        Raises:
            ValueError: There is no training split, or a column cannot become numbers.
        """
        if inputs.whole is not None or not (self.features or self.image):
            return
        if "train" not in self.splits:
            raise ValueError(
                f"Source {name!r} must have a split 'train' from which the scale of its columns is learned, got "
                f"{list(self.splits)}. Add it, or load a trained model, which knows it."
            )
        reading = self.readings.of("train")
        inputs.fit(lambda of: reading.cells(of.columns) if of.reads_arrow else reading.columns(of.columns, of.sample))

    def labels(self, split: str, columns: Sequence[str], name: str) -> tuple[Columns | None, Mapping[str, Any]]:
        """Return the values of target columns (None where the user's own `collate` makes them), and the types of all columns."""
        if self._collate(split):
            return None, {}
        self._refuse_empty(split, name)
        refuse_unknown_columns(columns, self.columns(split), split, name)
        reading = self.readings.of(split)
        return reading.columns(columns), reading.features()

    def examples(
        self, split: str, inputs: Inputs, targets: Sequence[str] | None = None, name: str = "", *, show: bool = False
    ) -> Examples:
        """Return the rows of a split, to be read as batches of tensors.

        Args:
            split: Name of the split.
            inputs: How rows become what the encoder reads.
            targets: Columns that tasks learn from; a batch has them as they are. Default: every column.
            name: Name of the source, for error messages.
            show: Whether a batch also has the words of the rows, to show them beside predictions.

        Raises:
            ValueError: A column that does not exist, a value that does not fit, or an empty split.
        """
        self._refuse_empty(split, name)
        if leaks := {*self.named}.intersection(targets or ()):
            raise ValueError(
                f"Source {name!r}: inputs must not be targets too, got {sorted(leaks)}. Leave them out of the inputs."
            )
        named = [] if inputs.whole else inputs.columns
        refuse_unknown_columns([*named, *(targets or ())], self.columns(split), split, name)
        inputs = self.as_collated(split, inputs)
        try:
            return Examples(self._prepared.of(split, self.splits[split], inputs.once), inputs, targets, show=show)
        except ValueError as error:
            raise ValueError(f"Source {name!r}, split {split!r}: {error}") from error

    def _refuse_empty(self, split: str, name: str) -> None:
        if len(self.splits[split]) == 0:
            raise ValueError(f"Split {split!r} of source {name!r} must have rows, got none. Leave the split out.")

    def ready_batches(self, split: str, name: str, ranks: int) -> Any:
        """Return the batches of row numbers of a ready loader with a sampler of its own; None where there is none.

        Raises:
            ValueError: The loader's batches cannot be sharded.
        """
        return own_batches(self.loaders.get(split), name, ranks)

    def rows_per_step(self, split: str, default: int) -> int:
        """Return the rows of a step on one rank: this source's own number, that of its loader, or the default."""
        loader = self.loaders.get(split)
        return self.batch_size or (loader.batch_size if loader is not None else None) or default

    def shuffled(self, split: str) -> bool:
        """Return whether training draws the rows in random order: always, unless a ready loader reads them in sequence."""
        loader = self.loaders.get(split)
        return loader is None or type(loader.sampler) is not SequentialSampler

    def _collate(self, split: str) -> Callable[[list[Any]], Any] | None:
        loader = self.loaders.get(split)
        return self.collate or (loader.collate_fn if loader is not None else None)
