"""What inputs have that go through a tokenizer."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from ..encoders import Tokenizer
from ._base import Columns, Input
from ._tensors import padded

Kind = TypeVar("Kind", bound="Tokenized")


class Tokenized(Input):
    """Columns that a tokenizer turns into lists of numbers, once; batches fill the shorter ones.

    Args:
        columns: The names of the columns.
        tokenizer: What turns texts into lists of numbers; without one it waits for the encoder's.
    """

    once: ClassVar[bool] = True

    def __init__(self, columns: list[str], tokenizer: Tokenizer | None = None) -> None:
        self.columns = columns
        self.tokenizer = tokenizer

    def description(self) -> dict[str, Any]:
        """Give the columns and the tokenizer."""
        return {"columns": self.columns, "tokenizer": self.tokenizer}

    @classmethod
    def from_description(cls: type[Kind], args: dict[str, Any]) -> Kind:
        """Make it again; without a tokenizer it waits for the encoder's."""
        return cls(args["columns"], args.get("tokenizer"))

    @property
    def limit(self) -> int | None:
        """How many tokens of a row are read at most."""
        return getattr(self.tokenizer, "limit", None)

    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Fill the shorter texts up to the longest one of the batch."""
        assert self.tokenizer is not None
        padding = {**self.tokenizer.padding, "__words__": -1}
        return {name: padded(values, padding.get(name, 0)) for name, values in prepared.items()}
