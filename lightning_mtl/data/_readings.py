"""The readings of a source's splits while its data are inspected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import datasets

from .._distributed import of_first_rank
from ..encoders import Vocabulary
from ..inputs import Inputs, Table
from ._reading import Reading, Wanted

SCAN = 10_000
"""Texts that are tokenized before training where what is made of them is not kept."""


class Readings:
    """Reads each split of a source once while `once` is open; else anew whenever it is asked for.

    Args:
        splits: {split: rows}.
    """

    def __init__(self, splits: Mapping[str, Any]) -> None:
        self._splits = splits
        self._first: dict[str, Any] = {}
        self._open: dict[str, Reading] | None = None
        self._wanted: dict[str, Wanted] = {}
        self._name = ""

    @contextmanager
    def once(
        self, name: str, inputs: Mapping[str, Inputs], targets: Sequence[str], *, words: bool, keys: bool
    ) -> Iterator[None]:
        """Read each row of a split at most once, until it is closed.

        Args:
            name: The name of the source.
            inputs: For each split how its rows become tensors; they need not have learned anything yet.
            targets: The columns that tasks learn from.
            words: Whether the words of all rows are wanted, beside their labels.
            keys: Whether rows will be compared.
        """
        self._name, self._open = name, {}
        self._wanted = {
            split: Wanted(of, targets, _kept(of, targets, words=words), keys) for split, of in inputs.items()
        }
        try:
            yield
        finally:
            self._open, self._wanted, self._first = None, {}, {}

    def of(self, split: str, inputs: Inputs | None = None) -> Reading:
        """Return the reading of a split.

        Args:
            split: The split.
            inputs: How its rows become tensors, for a reading while nothing is open.
        """
        rows = self._splits[split]
        if self._open is None or split not in self._wanted:
            return Reading(rows, Wanted(inputs or Inputs([])))
        if split not in self._open:
            where = f"source {self._name!r}, split {split!r}, row"
            self._open[split] = Reading(rows, self._wanted[split], where, of_first_rank, self._first.get(split))
        return self._open[split]

    def at_hand(self, split: str) -> bool:
        """Return whether a split is in memory or in a file, or is read anyway."""
        if split not in self._splits or not len(self._splits[split]):
            return False
        return split in self._wanted or isinstance(self._splits[split], list | datasets.Dataset)

    def column_names(self, split: str) -> list[str] | None:
        """Return the names of the columns of a Hugging Face dataset; None for other rows."""
        rows = self._splits[split]
        if not isinstance(rows, datasets.Dataset):
            return None
        known = None if self._open is None else self._open.get(split)
        return list(known.features() if known is not None and known.features() else rows.column_names)

    def first_row(self, split: str) -> Any:
        """Return the first row of a split, which is not read again."""
        rows = self._splits[split]
        if isinstance(rows, list | datasets.Dataset):
            return rows[0]
        if split not in self._first:
            self._first[split] = rows[0]
        return self._first[split]


def _kept(inputs: Inputs, targets: Sequence[str], *, words: bool) -> dict[str, int | None]:
    """Return of how many rows which columns are kept, None for all: what is learned from, and what is checked as a whole."""
    kept: dict[str, int | None] = {}
    for part in [*inputs.once, *inputs.learning]:
        vocabulary = getattr(part, "tokenizer", None)
        whole = isinstance(part, Table) or words or (isinstance(vocabulary, Vocabulary) and vocabulary.known is None)
        kept |= dict.fromkeys(part.columns, None if whole else part.sample or SCAN)
    return kept | dict.fromkeys(targets)
