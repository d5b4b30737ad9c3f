"""What inputs with a tokenizer have in common."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from ..encoders import Tokenizer
from ._base import Columns, Input
from ._tensors import padded

Kind = TypeVar("Kind", bound="Tokenized")


class Tokenized(Input):
    """Columns that a tokenizer turns into lists of numbers, once; batches pad the shorter ones.

    Args:
        columns: The names of the columns.
        tokenizer: What turns texts into lists of numbers. Default: the encoder's, which is set later.
    """

    once: ClassVar[bool] = True

    def __init__(self, columns: list[str], tokenizer: Tokenizer | None = None) -> None:
        self.columns = columns
        self.tokenizer = tokenizer

    def description(self) -> dict[str, Any]:
        """Return the columns and the tokenizer."""
        return {"columns": self.columns, "tokenizer": self.tokenizer}

    @classmethod
    def from_description(cls: type[Kind], args: dict[str, Any]) -> Kind:
        """Create it again from its `description`; without a tokenizer, that of the encoder is set later."""
        return cls(args["columns"], args.get("tokenizer"))

    @property
    def limit(self) -> int | None:
        """The largest number of tokens that is read of a row."""
        return getattr(self.tokenizer, "limit", None)

    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Pad the texts of a batch to the longest one."""
        assert self.tokenizer is not None
        padding = {**self.tokenizer.padding, "__words__": -1}
        return {name: padded(values, padding.get(name, 0)) for name, values in prepared.items()}
