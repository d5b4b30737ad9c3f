"""Columns that the user's own function turns into tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

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
        """Call the function.

        Raises:
            ValueError: It returns no columns, or columns of another number of rows.
        """
        made = self.function(dict(prepared))
        rows = len(next(iter(prepared.values()), ()))
        if not isinstance(made, Mapping):
            raise ValueError(
                f"`transform` must return {{column: tensor}}, got {type(made).__name__}. Name what it makes."
            )
        sizes = {name: len(of) for name, of in made.items() if not isinstance(of, Tensor) or of.ndim}
        if sizes and rows not in sizes.values():
            raise ValueError(
                f"`transform` must return as many rows as it is given, got {sizes} for {rows} rows. It must leave none out."
            )
        return dict(made)
