"""Rows of a Hugging Face dataset, prepared once: what is slow to make of a row (tokens, codes) is kept in its cache."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import datasets

from ..digests import NoDigestError, digest
from ..inputs import Columns, Input

_FORM = 4
"""Raise it when what is prepared of a row changes: the cache of `datasets` knows the user's code, not that of this library."""
_PREPARED = re.compile(r"__prepared__\d+\..")
"""A column that was prepared: a mark, the number of the input, a dot, and the name of the encoder's column."""
_FEW = 10_000
"""Rows that are prepared in a moment, for which no progress bar is shown; of whole columns as many are prepared at once."""


class PreparedRows:
    """The splits of a source as they were prepared last, so that another model with the same inputs needs no second pass."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, datasets.Dataset]] = {}

    def of(self, split: str, rows: Any, inputs: Sequence[Input]) -> Any:
        """Return the rows of a split with columns for what these inputs prepare; rows without a cache stay as they are."""
        if not inputs or not isinstance(rows, datasets.Dataset):
            return rows
        key = _key(inputs)
        if self._kept.get(split, ("", None))[0] != key:
            self._kept[split] = key, _prepared(rows, inputs)
        return self._kept[split][1]


def is_prepared(column: str) -> bool:
    """Return whether a column was added by `PreparedRows`."""
    return _PREPARED.match(column) is not None


def prefix_of(number: int) -> str:
    """Return how the columns that an input prepares begin; no column of the user's begins like that."""
    return f"__prepared__{number}."


def _key(inputs: Sequence[Input]) -> str:
    """Return a hash of what inputs have learned and of their code; of a tokenizer whose state cannot be read, a new one each time."""
    try:
        return digest([_FORM, *inputs])
    except NoDigestError:
        return uuid.uuid4().hex


def _prepared(rows: datasets.Dataset, inputs: Sequence[Input]) -> datasets.Dataset:
    rows = rows.with_format(None)
    _prepare(rows[:1], [0], inputs)  # the cache key of a tokenizer changes with its first use
    options: dict[str, Any] = {"batched": True, "with_indices": True, "fn_kwargs": {"parts": list(inputs)}}
    options["new_fingerprint"] = datasets.fingerprint.Hasher.hash([rows._fingerprint, _key(inputs)])
    if all(part.reads_arrow for part in inputs):
        options["batch_size"] = _FEW
    # Columns of which nothing but the features is read are not written again.
    options["remove_columns"] = [name for part in inputs if part.reads_arrow for name in part.columns]
    with _progress_bar(len(rows)):
        try:
            return rows.map(_prepare, desc="Prepare", **options)
        except OSError as error:
            raise ValueError(
                f"The cache of `datasets`, where prepared rows are kept, must be a folder that can be written, got {error}. Set "
                "HF_DATASETS_CACHE to another folder and read the data again, or load them with keep_in_memory=True."
            ) from error


@contextmanager
def _progress_bar(rows: int) -> Iterator[None]:
    """Hide the progress bar of `datasets` where there are few rows, unless the environment asks for it."""
    asked = datasets.config.HF_DATASETS_DISABLE_PROGRESS_BARS is not None
    hide = rows < _FEW and not asked and not datasets.are_progress_bars_disabled()
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            datasets.enable_progress_bars()


def _prepare(columns: Columns, numbers: Sequence[int], parts: Sequence[Input]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for number, part in enumerate(parts):
        given = _as_arrow(columns) if part.reads_arrow else columns
        made |= {prefix_of(number) + name: values for name, values in part.prepare(given, numbers).items()}
    return made


def _as_arrow(columns: Columns) -> Columns:
    """Return a batch of `datasets` as Arrow has it, without making objects of its cells."""
    table = getattr(columns, "pa_table", None)
    return columns if table is None else dict(zip(table.column_names, table.columns, strict=True))
