"""Checks of the rows of a split: inputs that are not finite, unknown tokens, words without labels, copies of training rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
from torch import Tensor

from ..inputs import refuse_not_finite
from ..task import Task
from ._examples import Examples
from ._label_counts import SCAN


def refuse_bad_inputs(examples: Examples, where: str, vocabulary: int | None) -> None:
    """Reject inputs that are not finite, and tokens that the encoder does not know.

    Args:
        examples: Rows. The first ones are read; texts that were tokenized once are all checked.
        where: What a row is called in error messages.
        vocabulary: How many tokens the encoder knows. Default: it is not known.

    Raises:
        ValueError: An input is not finite, with source, split, row and column; or a token id is too large for the encoder's embeddings.
    """
    _refuse_token(examples.largest_token(), vocabulary, where)
    rows = min(SCAN, len(examples))
    for start in range(0, rows, 1000):
        picked = range(start, min(start + 1000, rows))
        batch = _read(examples, picked, where)
        inputs = {name: of for name, of in batch.items() if name not in (examples.targets or ())}
        refuse_not_finite(inputs, where, picked)
        if examples.tokenizes and isinstance(tokens := batch.get("input_ids"), Tensor) and tokens.numel():
            _refuse_token(int(tokens.max()), vocabulary, where)


def _read(examples: Examples, rows: range, where: str) -> dict[str, Any]:
    try:
        return examples[list(rows)]
    except ValueError as error:
        raise ValueError(f"S{where.removesuffix(', row')[1:]}: {error}") from error


def _refuse_token(largest: int | None, vocabulary: int | None, where: str) -> None:
    if vocabulary is not None and largest is not None and largest >= vocabulary:
        raise ValueError(
            f"The tokenizer must fit the encoder, which knows the tokens 0 to {vocabulary - 1}; of {where.removesuffix(', row')} "
            f"it makes token {largest}. Use the encoder's own tokenizer: leave out `tokenizer`."
        )


def refuse_uneven(words: Sequence[Any], tags: Sequence[Any], task: Task, where: str) -> None:
    """Check that each row has a label for each word.

    Raises:
        ValueError: A row has more or fewer, with its number.
    """
    for row, (of, labels) in enumerate(zip(words, tags, strict=True)):
        if labels is not None and len(labels) != len(of):
            raise ValueError(
                f"Task {task.name!r} must have a label for each word: {where} {row} has {len(of)} words and {len(labels)} labels "
                f"in column {task.column!r}. Correct or drop the row; None marks a missing label."
            )


def warn_of_copies(train: Examples, other: Examples, name: str, split: str) -> None:
    """Warn where rows of a split are in the training split too."""
    known = set(_keys(train))
    copies = sum(key in known for key in _keys(other))
    if copies:
        warnings.warn(
            f"Source {name!r}: {copies} of {len(other)} rows of split {split!r} have the same inputs as rows of 'train'. "
            "Split by content, or drop the copies, for scores that mean something.",
            stacklevel=2,
        )


def _keys(examples: Examples) -> list[Any]:
    """Return for each row a key that rows with the same inputs share."""
    hidden = set(examples.targets or ())
    if not isinstance(examples.rows, datasets.Dataset) or examples.inputs.whole is not None:
        columns: Mapping[str, Any] = examples[list(range(min(len(examples), SCAN)))]
    else:
        names = [name for name in examples.rows.column_names if name not in hidden]
        columns = examples.rows.select_columns(names)[: None if examples.inputs.once else SCAN] if names else {}
    values = [column for name, column in columns.items() if name not in hidden]
    return [tuple(_key(value) for value in row) for row in zip(*values, strict=True)]


def _key(value: Any) -> Any:
    return value.numpy().tobytes() if isinstance(value, Tensor) else repr(value)
