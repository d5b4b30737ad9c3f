"""What every kind of input column has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

Columns = Mapping[str, list[Any]]
"""Rows of a batch, as {column: values}."""


class Input(ABC):
    """Input columns of one kind: from {column: values} to {column: tensor}.

    It works in two parts, so that the slow one can be kept: `prepare` makes plain lists of each row, `collate` makes tensors
    of the rows of a batch.
    """

    columns: list[str]
    """The columns that it reads."""
    once: ClassVar[bool] = False
    """Whether rows are worth preparing once, instead of each time they are read."""

    @property
    def limit(self) -> int | None:
        """How many tokens of a row are read at most, where rows are texts."""
        return None

    def fit(self, columns: Columns) -> None:  # noqa: B027 - most kinds learn nothing
        """Learn from the training split what the same columns are to be brought to."""

    @abstractmethod
    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Make of each row what a batch is made of.

        Args:
            columns: The values of some rows.
            rows: The numbers of these rows, for error messages.

        Raises:
            ValueError: A value that does not fit, with its row and column.
        """

    @abstractmethod
    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Make the encoder's columns of what `prepare` made of the rows of a batch."""

    def example(self) -> dict[str, list[Any]] | None:
        """Make two rows with which a model can be traced, or none where the columns are the user's own."""
        return None

    def sizes(self) -> dict[str, int]:
        """Tell the size of the encoder's columns that have one for good: {column: size of the last axis}."""
        return {}

    def note(self) -> str:
        """Say what a user should know about what was learned."""
        return ""
