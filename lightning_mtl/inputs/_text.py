"""Texts, or pairs of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._base import Columns
from ._tokenized import Tokenized


class Text(Tokenized):
    """One column of texts, or two of pairs, through a tokenizer.

    Args:
        columns: The names of the columns.
        tokenizer: What turns texts into lists of numbers.

    Example:
        >>> from lightning_mtl.encoders import HashTokenizer
        >>> text = Text(["review"], HashTokenizer(1000, pairs=False))
        >>> text.collate(text.prepare({"review": ["A small step", "!"]}, range(2)))
        {'input_ids': tensor([[908, 180, 717],
                [972,   0,   0]])}
    """

    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Tokenize the texts."""
        for column in self.columns:
            for row, value in zip(rows, columns[column], strict=True):
                if not isinstance(value, str):
                    raise ValueError(
                        f"Column {column!r} must hold texts, got {value!r} in row {row}. Fill it or drop the row; numbers and "
                        "categories belong in `features`."
                    )
        assert self.tokenizer is not None
        return dict(self.tokenizer(*(columns[column] for column in self.columns)))

    def example(self) -> dict[str, list[Any]]:
        """Return two short texts of different lengths."""
        return {column: ["two words", "these are three"] for column in self.columns}
