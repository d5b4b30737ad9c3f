"""One source of examples: a dataset, its input columns, and how they become tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from difflib import get_close_matches
from typing import Any, cast

import datasets
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
)

from ._columns import padded, rows_of, stacked
from .encoders import Tokenizer

SPLITS = ("train", "validation", "test", "predict")


class Source:
    """A dataset under a name, with its input columns.

    Rows are mappings of columns. Where no input column is named, every column that is no task's target is an input, and
    goes to the encoder as it is.

    Args:
        dataset: A Hugging Face `Dataset` or `DatasetDict`, a list of mappings, any map-style dataset of mappings, a
            ready `DataLoader` over one, or a dictionary of these for the splits "train", "validation", "test" and
            "predict". One dataset alone is the split "train". Of a ready loader, dataset, batches and collate are
            used; the data module's workers read it.
        text: Column of texts, or two columns of pairs of texts, for the encoder's tokenizer.
        features: Numeric columns, which become one column "features" of shape [batch, columns].
        transform: Makes the input columns yourself: from {column: list of values} of a batch to {column: tensor}.
        batch_size: Rows of this source in a step. Default: that of the data module.
        collate: Makes a batch yourself: from a list of rows to {column: tensor}, target columns included.

    Raises:
        ValueError: An unknown split, or an empty list of columns.
        TypeError: A dataset without a length or without rows by number.

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
        features: Sequence[str] | None = None,
        transform: Callable[[dict[str, list[Any]]], dict[str, Any]] | None = None,
        batch_size: int | None = None,
        collate: Callable[[list[Any]], dict[str, Any]] | None = None,
    ) -> None:
        splits = dataset if isinstance(dataset, Mapping) else {"train": dataset}
        if unknown := [split for split in splits if split not in SPLITS]:
            raise ValueError(f"`dataset` must have splits out of {list(SPLITS)}, got {unknown}. Rename them.")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        if transform is not None and (text or features):
            raise ValueError(
                "`transform` makes all input columns, so `text` and `features` must be left out beside it."
            )
        self.text = [text] if isinstance(text, str) else list(text or ())
        self.features = list(features or ())
        if len(self.text) > 2:
            raise ValueError(f"`text` must name one column, or two for pairs, got {self.text}. Join the columns first.")
        self.transform = transform
        self.batch_size = batch_size
        self.collate = collate
        self.loaders = {split: data for split, data in splits.items() if isinstance(data, DataLoader)}
        self.splits = {split: rows_of(data) for split, data in splits.items()}

    def columns(self, split: str) -> list[str]:
        """Name the columns of a split, as far as they can be seen."""
        data = self.splits[split]
        if isinstance(data, datasets.Dataset):
            return list(data.column_names)
        collate = self._collate(split)
        first = collate([data[0]]) if collate else data[0]
        if not isinstance(first, Mapping):
            raise ValueError(
                f"Rows of a source must be mappings of columns, got {type(first).__name__}. Give `collate` that makes "
                "{column: tensor} of a list of rows."
            )
        return list(first)

    def examples(
        self,
        split: str,
        tokenizer: Tokenizer | None = None,
        targets: Sequence[str] | None = None,
        name: str = "",
        not_inputs: Iterable[str] = (),
    ) -> Examples:
        """Make the rows of a split readable as batches of tensors.

        Args:
            split: Name of the split.
            tokenizer: What turns texts into tensors.
            targets: Columns that tasks learn from, which come along as they are. Default: every column.
            name: What the source is called in error messages.
            not_inputs: Columns that are left out unless they are targets.

        Raises:
            ValueError: A column that there is not, a text without a tokenizer, or an empty split.
        """
        if len(self.splits[split]) == 0:
            raise ValueError(f"Split {split!r} of source {name!r} must have rows, got none. Leave the split out.")
        there = self.columns(split)
        wanted = list(targets or ()) if split != "predict" else []
        for column in wanted if self._collate(split) else [*self.text, *self.features, *wanted]:
            if column not in there:
                close = get_close_matches(column, there, 1)
                hint = f"Did you mean {close[0]!r}?" if close else "Name one of these."
                raise ValueError(
                    f"Source {name!r} has no column {column!r} in split {split!r}; columns are {there}. {hint}"
                )
        if leaks := {*self.text, *self.features}.intersection(targets or ()):
            raise ValueError(
                f"Source {name!r}: inputs must not be targets too, got {sorted(leaks)}. Leave them out of the inputs."
            )
        if self.text and tokenizer is None:
            raise ValueError(
                f"Source {name!r} has `text`, but no tokenizer: its encoder has none, nor was one given. Use an encoder for "
                "text, e.g. HardSharing(BagOfWords()), or MultiTaskDataModule(..., tokenizer=...)."
            )
        hidden = set(not_inputs) - set(targets or ())
        return Examples(self, self.splits[split], self._collate(split), tokenizer, targets, hidden)

    def ready_batches(self, split: str, name: str, ranks: int) -> Sampler[list[int]] | None:
        """Give the batches of row numbers of a ready loader with a sampler of its own, or else none.

        Raises:
            ValueError: The loader's batches cannot be cut over the ranks.
        """
        loader = self.loaders.get(split)
        if loader is None:
            return None
        if loader.batch_sampler is None:
            raise ValueError(
                f"The DataLoader of source {name!r} must make batches, got batch_size=None. Give its dataset, or pass "
                f"loaders of ready batches to the Trainer: CombinedLoader({{{name!r}: loader}}, 'max_size_cycle')."
            )
        sampler = loader.sampler
        plain = type(loader.batch_sampler) is BatchSampler and type(sampler) in (RandomSampler, SequentialSampler)
        plain = (
            plain
            and not getattr(sampler, "replacement", False)
            and len(cast(Sized, sampler)) == len(cast(Sized, loader.dataset))
        )
        if plain and not loader.drop_last:
            return None
        if ranks > 1:
            raise ValueError(
                f"The DataLoader of source {name!r} must have a plain sampler to be cut over {ranks} ranks, got "
                f"{type(loader.sampler).__name__} with drop_last={loader.drop_last}. Give its dataset instead."
            )
        batches: Sampler[list[int]] = loader.batch_sampler
        return batches

    def rows_per_step(self, split: str, default: int) -> int:
        """Number the rows of a step on one rank: this source's own, its loader's, or the default."""
        loader = self.loaders.get(split)
        return self.batch_size or (loader.batch_size if loader is not None else None) or default

    def shuffled(self, split: str) -> bool:
        """Say whether training takes the rows in random order: always, unless a ready loader has them in their own."""
        loader = self.loaders.get(split)
        return loader is None or type(loader.sampler) is not SequentialSampler

    def _collate(self, split: str) -> Callable[[list[Any]], Any] | None:
        loader = self.loaders.get(split)
        return self.collate or (loader.collate_fn if loader is not None else None)


class Examples:
    """One split of one source: `examples[row numbers]` is a batch of tensors.

    Texts of a Hugging Face dataset are tokenized once and kept in its cache; other texts as they are read.
    """

    def __init__(
        self,
        source: Source,
        rows: Any,
        collate: Callable[[list[Any]], Any] | None,
        tokenizer: Tokenizer | None,
        targets: Sequence[str] | None,
        hidden: set[str],
    ) -> None:
        self.hidden = hidden
        self.source = source
        self.rows = rows
        self.collate = collate
        self.tokenizer = tokenizer
        self.targets = targets
        self.padding = dict(tokenizer.padding) if tokenizer is not None and source.text else {}
        self._token_columns: list[str] = []
        if isinstance(rows, datasets.Dataset) and collate is None:
            self.rows = self._prepared(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, numbers: list[int]) -> dict[str, Any]:
        """Read the rows with these numbers as one batch."""
        if self.collate is not None:
            made = self.collate([self.rows[i] for i in numbers])
            return {name: column for name, column in made.items() if name not in self.hidden}
        columns = self.read(numbers)
        batch = self.source.transform(columns) if self.source.transform else self._inputs(columns)
        for target in self._targets(columns, batch):
            batch[target] = stacked(columns[target])
        return batch

    def read(self, numbers: list[int] | slice) -> dict[str, list[Any]]:
        """Read the raw columns of the rows with these numbers."""
        if isinstance(self.rows, datasets.Dataset):
            return dict(self.rows[numbers])
        picked = range(len(self.rows))[numbers] if isinstance(numbers, slice) else numbers
        rows = [self.rows[i] for i in picked]
        return {column: [row[column] for row in rows] for column in rows[0]}

    def _prepared(self, rows: datasets.Dataset) -> datasets.Dataset:
        rows = rows.with_format(None)
        named = [*self.source.text, *self.source.features]
        if named and self.targets is not None and self.source.transform is None:
            rows = rows.select_columns([c for c in rows.column_names if c in {*named, *self.targets}])
        if self.source.text:
            self._token_columns = list(_tokenize(rows[:1], None, self.tokenizer, self.source.text))
            rows = rows.map(
                _tokenize,
                batched=True,
                with_indices=True,
                fn_kwargs={"tokenizer": self.tokenizer, "text": self.source.text},
                remove_columns=[column for column in self.source.text if column not in (self.targets or ())],
                desc="Tokenize",
            )
        return rows

    def _inputs(self, columns: dict[str, list[Any]]) -> dict[str, Any]:
        source = self.source
        if not source.text and not source.features:
            others = self.hidden.union(self.targets or ())
            return {name: stacked(values) for name, values in columns.items() if name not in others}
        inputs: dict[str, Any] = {}
        if source.text:
            known = {name: columns[name] for name in self._token_columns}
            ids = known or _tokenize(columns, None, self.tokenizer, source.text)
            inputs |= {name: padded(values, self.padding.get(name, 0)) for name, values in ids.items()}
        if source.features:
            values = [columns[name] for name in source.features]
            inputs["features"] = torch.tensor(
                [[float("nan") if v is None else v for v in column] for column in values],
                dtype=torch.get_default_dtype(),
            ).T
        return inputs

    def _targets(self, columns: Mapping[str, Any], batch: Mapping[str, Any]) -> list[str]:
        return [
            name
            for name in (columns if self.targets is None else self.targets)
            if name in columns and name not in batch
        ]


def _tokenize(
    columns: Mapping[str, Any], numbers: list[int] | None, tokenizer: Tokenizer | None, text: list[str]
) -> dict[str, list[list[int]]]:
    assert tokenizer is not None
    for column in text:
        for row, value in zip(numbers or range(len(columns[column])), columns[column], strict=True):
            if not isinstance(value, str):
                raise ValueError(
                    f"Column {column!r} must hold texts, got {value!r} in row {row}. Fill it, or drop the row."
                )
    return tokenizer(*(columns[column] for column in text))
