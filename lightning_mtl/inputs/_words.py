"""Texts that are given as lists of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._base import Columns
from ._tokenized import Tokenized

WORDS = "__words__"
"""The column of a batch with the number of the word that starts at each position, -1 elsewhere: [batch, length]."""

RAW = "__raw__"
"""The column of a batch with the words themselves, where they are to be shown beside their labels."""


class Words(Tokenized):
    """A column of lists of words, through a tokenizer that says where each word starts.

    Args:
        columns: The name of the column, in a list.
        tokenizer: What turns words into lists of numbers.

    Example:
        >>> from lightning_mtl.encoders import HashTokenizer
        >>> words = Words(["tokens"], HashTokenizer(1000, pairs=False))
        >>> words.collate(words.prepare({"tokens": [["A", "small", "step"], ["!"]]}, range(2)))["__words__"]
        tensor([[ 0,  1,  2],
                [ 0, -1, -1]])
    """

    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Tokenize the words."""
        (column,) = self.columns
        for row, words in zip(rows, columns[column], strict=True):
            if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
                raise ValueError(
                    f"Column {column!r} must hold lists of words, got {words!r} in row {row}. Split the text into words, or "
                    "name the column in `text`."
                )
        assert self.tokenizer is not None
        made = dict(self.tokenizer.words(columns[column]))
        made[WORDS] = made.pop("words")
        return made

    def example(self) -> dict[str, list[Any]]:
        """Return two short texts of different lengths."""
        return {self.columns[0]: [["two", "words"], ["these", "are", "three"]]}
