"""The columns of a source that the encoder reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from ..encoders import Tokenizer
from ..files import Cells
from ..inputs import Image, Input, Own, Plain, Table, Text, Words


@dataclass(frozen=True)
class InputColumns:
    """The input columns of a source by their kind; see `Source`.

    Raises:
        ValueError: Columns that exclude each other, or one that is named twice.
    """

    text: Sequence[str]
    words: str | None
    features: Sequence[str]
    image: str | None
    transform: Callable[[dict[str, list[Any]]], dict[str, Any]] | None

    def __post_init__(self) -> None:
        if len(self.text) > 2:
            raise ValueError(f"`text` must name one column, or two for pairs, got {self.text}. Join the columns first.")
        if self.text and self.words:
            raise ValueError(
                f"`words` must be left out beside `text`, got {self.words!r}. Name the one that the encoder reads."
            )
        if self.transform is not None and self.named:
            raise ValueError(
                f"`transform` makes all input columns, so no other may be named beside it, got {self.named}. Leave one out."
            )
        if doubled := sorted({name for name in self.named if self.named.count(name) > 1}):
            raise ValueError(f"Input columns must be named once, got {doubled} twice. Leave one out.")

    @property
    def named(self) -> list[str]:
        """The columns that are named as inputs."""
        return [
            *self.text,
            *([self.words] if self.words else ()),
            *self.features,
            *([self.image] if self.image else ()),
        ]

    def refuse_no_tokenizer(self, tokenizer: Tokenizer | None, name: str) -> None:
        """Check that there is a tokenizer where columns hold texts or words.

        Raises:
            ValueError: There is none, with the name of the source.
        """
        if (self.text or self.words) and tokenizer is None:
            raise ValueError(
                f"Source {name!r} has `{'text' if self.text else 'words'}`, but no tokenizer: its encoder has none, nor was one "
                "given. Use an encoder for text, e.g. HardSharing(BagOfWords()), or MultiTaskDataModule(..., tokenizer=...)."
            )

    def parts(
        self, tokenizer: Tokenizer | None, rows: Any, others: list[str], cells: Cells | None = None
    ) -> list[Input]:
        """Return an input for each kind of column.

        Args:
            tokenizer: What turns texts into tensors; needed for texts and words.
            rows: The rows of a split, whose types may say which features are classes.
            others: Columns that are inputs where none is named.
            cells: What the user says of the cells of columns; those of texts are classes, whatever they look like.
        """
        if self.transform is not None:
            return [Own(self.transform)]
        parts: list[Input] = []
        if self.text:
            parts.append(Text(list(self.text), tokenizer))
        if self.words:
            parts.append(Words([self.words], tokenizer))
        if self.features:
            known = rows.features if isinstance(rows, datasets.Dataset) else {}
            classes = [
                name
                for name in self.features
                if isinstance(known.get(name), datasets.ClassLabel) or (cells and cells.kind_of(name) == "text")
            ]
            parts.append(Table(list(self.features), classes))
        if self.image is not None:
            parts.append(Image([self.image]))
        return parts or [Plain(others)]
