"""Checks of the rows of a split: inputs that are not finite, unknown tokens, words without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..task import Task
from ._examples import Examples
from ._reading import Reading
from ._readings import SCAN

STEP = 1000
"""Rows that are prepared at a time."""


def refuse_bad_inputs(examples: Examples, reading: Reading, where: str, vocabulary: int | None) -> None:
    """Reject inputs that are not finite, and tokens that the encoder does not know.

    Args:
        examples: Rows; where not all of them are read here, they look at their inputs whenever a batch is read.
        reading: The reading of these rows.
        where: What a row is called in error messages.
        vocabulary: How many tokens the encoder knows. Default: it is not known.

    Raises:
        ValueError: An input does not fit or is not finite, with source, split, row and column; or a token id is too large for the
            encoder's embeddings.
    """
    reading.look()
    largest = examples.largest_token() if examples.prepared else _prepare_kept(examples, reading, where)
    _refuse_token(largest, vocabulary, where)
    examples.looks = reading.sampled


def _prepare_kept(examples: Examples, reading: Reading, where: str) -> int | None:
    """Prepare the rows of inputs that are prepared when they are read, to see that they can be; return the largest token."""
    largest = None
    for part in examples.inputs.once:
        columns = reading.cells(part.columns)
        count = len(next(iter(columns.values())))
        for start in range(0, count if part.reads_arrow else min(count, SCAN), STEP):
            rows = {name: of[start : start + STEP] for name, of in columns.items()}
            try:
                made = part.prepare(rows, reading.numbers[start : start + STEP])
            except ValueError as error:
                raise ValueError(f"S{where.removesuffix(', row')[1:]}: {error}") from error
            tokens = [token for row in made.get("input_ids", ()) for token in row]
            largest = max([*tokens, -1 if largest is None else largest]) if tokens else largest
    return largest


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
