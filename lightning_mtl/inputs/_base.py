"""What every kind of input column has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

Columns = Mapping[str, Any]
"""Rows of a batch, as {column: values}: a list, or what is as long and has the rows in the same order (an array)."""


class Input(ABC):
    """Input columns of one kind: from {column: values} to {column: tensor}.

    It works in two steps, so that the result of the slow one can be kept: `prepare` turns each row into plain lists, `collate`
    turns the rows of a batch into tensors.
    """

    columns: list[str]
    """The columns that it reads."""
    once: ClassVar[bool] = False
    """Whether rows are prepared once, instead of each time they are read."""
    reads_arrow: ClassVar[bool] = False
    """Whether `fit` and `prepare` take columns as Arrow has them, too, instead of lists."""

    sample: ClassVar[int | None] = None
    """How many rows it learns from, if not from all."""

    @property
    def limit(self) -> int | None:
        """The largest number of tokens that is read of a row, where rows are texts."""
        return None

    def fit(self, columns: Columns) -> None:  # noqa: B027 - most kinds learn nothing
        """Learn scales and categories from the training split."""

    @abstractmethod
    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, Any]:
        """Turn each row into what `collate` needs.

        Args:
            columns: The values of some rows.
            rows: The numbers of these rows, for error messages.

        Raises:
            ValueError: A value that does not fit, with its row and column.
        """

    @abstractmethod
    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Return the encoder's columns for the rows of a batch, as `prepare` returned them."""

    def example(self) -> dict[str, list[Any]] | None:
        """Return two rows to trace a model with; None where the columns are the user's own."""
        return None

    def sizes(self) -> dict[str, int]:
        """Return the size of the last axis of the encoder's columns whose size is fixed: {column: size}."""
        return {}

    def note(self) -> str:
        """Return what a user should know about what was learned."""
        return ""
