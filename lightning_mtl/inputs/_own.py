"""Columns that the user's own function turns into tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ._base import Columns, Input


class Own(Input):
    """All columns, through the user's own function.

    Args:
        function: From {column: values} of a batch to {column: tensor}.
    """

    def __init__(self, function: Callable[[dict[str, list[Any]]], dict[str, Any]]) -> None:
        self.columns = []
        self.function = function

    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Return the rows as they are."""
        return dict(columns)

    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Call the function."""
        return self.function(dict(prepared))
