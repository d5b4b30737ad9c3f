"""The columns of a Hugging Face dataset, read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ..inputs import refuse_not_finite
from ._row_keys import row_keys

_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
_TEXTS = (pa.types.is_string, pa.types.is_large_string)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_LARGE = 2**30
_SCAN = 10_000
"""Rows whose keys are made where the inputs of all rows take more than a gigabyte."""


class ArrowColumns:
    """The columns of a dataset.

    Args:
        rows: The dataset.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        self._plain = rows.with_format(None)
        self._arrow = rows.with_format("arrow")
        self.features: dict[str, Any] = dict(rows.features)
        """The types of the columns."""
        self._cells: dict[str, Any] = {}

    def values(self, name: str, most: int | None = None) -> list[Any]:
        """Return a column as a list, or its first values."""
        if not _is_plain(self.features[name]):  # images and the like are files until they are decoded
            decoded: list[Any] = self._plain[name][:most]
            return decoded
        values: list[Any] = self.cells(name)[:most].to_pylist()
        return values

    def cells(self, name: str) -> Any:
        """Return a column as an Arrow array, in chunks; read once."""
        self.load([name])
        return self._cells[name]

    def is_whole(self, name: str) -> bool:
        """Return whether each row of a column has a whole number or a truth."""
        kind = self.cells(name).type
        whole = pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and not pa.types.is_uint64(kind))
        return whole and not self.cells(name).null_count

    def tensor(self, name: str) -> torch.Tensor:
        """Return a column of whole numbers or truths as a tensor."""
        values = self.cells(name).to_numpy()
        return torch.from_numpy(values.copy() if values.dtype == bool else values.astype(np.int64))

    def load(self, names: Sequence[str]) -> None:
        """Read columns at once; to select them one by one would take time that grows with their square."""
        if new := [name for name in dict.fromkeys(names) if name not in self._cells]:
            table = self._arrow.select_columns(new)[:]
            self._cells |= dict(zip(table.column_names, table.columns, strict=True))

    def rows(self, numbers: Sequence[int]) -> dict[str, list[Any]]:
        """Return all columns of some rows as lists."""
        return dict(self._plain[list(numbers)])

    def keys(self, names: Sequence[str]) -> np.ndarray:
        """Return for each row a number that rows with the same values in these columns share."""
        self.load(names)
        columns = [self.cells(name) for name in names]
        most = _SCAN if sum(column.nbytes for column in columns) > _LARGE else len(self._arrow)
        return row_keys([column[:most] for column in columns], min(most, len(self._arrow)))

    def is_numeric(self, name: str) -> bool:
        """Return whether a column holds texts, or numbers or lists of them, which can be checked without reading row by row."""
        kind = self._arrow.data.schema.field(name).type
        while _is(kind, _LISTS):
            kind = kind.value_type
        return _is(kind, _NUMBERS) or _is(kind, _TEXTS) or pa.types.is_null(kind)

    def refuse_not_finite(self, name: str, where: str) -> None:
        """Check that a column of numbers, or of lists of them, holds finite ones.

        Raises:
            ValueError: One is missing, NaN or infinite as a tensor has it, with its row.
        """
        cells, owners = self.cells(name), None
        while _is(cells.type, _LISTS):
            lengths = pc.fill_null(pc.list_value_length(cells), 0).to_numpy().astype(int)
            rows = np.arange(len(lengths)) if owners is None else owners
            owners, cells = np.repeat(rows, lengths), pc.list_flatten(cells)
        if not _is(cells.type, _NUMBERS):
            return
        if not cells.null_count and not pa.types.is_floating(cells.type):
            return
        numbers = pc.cast(cells, pa.float64(), safe=False).to_numpy()
        dtype = torch.get_default_dtype()
        bad = ~(np.abs(numbers) <= torch.finfo(dtype).max)
        if bad.any() and not ((numbers == 0) | (numbers == -np.inf)).all():  # a mask that is added to scores
            first = int(bad.argmax())
            row = first if owners is None else int(owners[first])
            refuse_not_finite({name: torch.tensor([[numbers[first], 1.0]], dtype=dtype)}, where, [row])


def _is_plain(feature: Any) -> bool:
    """Return whether Arrow holds the values of a column as they are."""
    while isinstance(feature, datasets.List | datasets.LargeList):
        feature = feature.feature
    return type(feature) in (datasets.Value, datasets.ClassLabel)


def _is(kind: Any, tests: Sequence[Any]) -> bool:
    return any(test(kind) for test in tests)
