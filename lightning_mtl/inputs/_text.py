"""Texts, or pairs of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..encoders import Tokenizer
from ._base import Columns, Input
from ._tensors import padded


class Text(Input):
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

    once = True

    def __init__(self, columns: list[str], tokenizer: Tokenizer | None = None) -> None:
        self.columns = columns
        self.tokenizer = tokenizer

    def description(self) -> dict[str, Any]:
        """Give the columns and the tokenizer."""
        return {"columns": self.columns, "tokenizer": self.tokenizer}

    @classmethod
    def from_description(cls, args: dict[str, Any]) -> Text:
        """Make it again; without a tokenizer it waits for the encoder's."""
        return cls(args["columns"], args.get("tokenizer"))

    @property
    def limit(self) -> int | None:
        """How many tokens of a row are read at most."""
        return getattr(self.tokenizer, "limit", None)

    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Tokenize."""
        for column in self.columns:
            for row, value in zip(rows, columns[column], strict=True):
                if not isinstance(value, str):
                    raise ValueError(
                        f"Column {column!r} must hold texts, got {value!r} in row {row}. Fill it or drop the row; numbers and "
                        "categories belong in `features`."
                    )
        assert self.tokenizer is not None
        return dict(self.tokenizer(*(columns[column] for column in self.columns)))

    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Fill the shorter texts up to the longest one of the batch."""
        assert self.tokenizer is not None
        return {name: padded(values, self.tokenizer.padding.get(name, 0)) for name, values in prepared.items()}

    def example(self) -> dict[str, list[Any]]:
        """Two short texts of different lengths."""
        return {column: ["two words", "these are three"] for column in self.columns}
