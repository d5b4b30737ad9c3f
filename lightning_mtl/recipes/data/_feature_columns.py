"""Which columns of a table can be features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lightning.pytorch.utilities import rank_zero_only

from lightning_mtl.data import refuse_doubtful
from lightning_mtl.files import Cells, CellsError
from lightning_mtl.inputs import Table

_CHANCE = 10
"""Whole numbers that all differ, where chance would let so many pairs of rows be equal, are no quantities."""


def feature_columns(
    splits: Mapping[str, datasets.Dataset], *, leave_out: Sequence[str], cells: Cells | None = None
) -> list[str]:
    """Return the names of the columns that can be features of a table, and print why others cannot.

    Args:
        splits: {split: rows}, with a split "train".
        leave_out: Columns to leave out without a message: targets, and columns that the user drops.
        cells: What the user says of the cells of columns.

    Returns:
        The names, in the order of the columns.

    Raises:
        ValueError: No column is left.

    Example:
        >>> columns = {"number": [7, 8, 9], "age": [20, 50, 30], "born": ["2001-05-31", "2002-06-30", "2001-01-31"]}
        >>> rows = datasets.Dataset.from_dict(columns)
        >>> feature_columns({"train": rows}, leave_out=[])
        Left out of the features: 'number' (whole numbers that rise from row to row, as of an identifier); 'born' (dates).
        ['age']
    """
    columns = [name for name in splits["train"].column_names if name not in leave_out]
    faults = {name: _fault(name, splits, cells or Cells()) for name in columns}
    if bad := [f"{name!r} ({fault})" for name, fault in faults.items() if fault]:
        _print_on_rank_zero(f"Left out of the features: {'; '.join(bad)}.")
    if found := [name for name, fault in faults.items() if not fault]:
        return found
    raise ValueError(f"`features` must hold at least one column, got none of {columns}. Name some, or add columns.")


def _fault(name: str, splits: Mapping[str, datasets.Dataset], cells: Cells) -> str | None:
    """Return why a column cannot be a feature; None if it can."""
    values = {split: _column(rows, name) for split, rows in splits.items()}
    train = values["train"]
    if (fault := _one_value(train)) is not None:
        return fault
    if pa.types.is_integer(train.type) and _is_identifier(list(values.values())):
        rising = bool(pc.all(pc.less(train[:-1], train[1:])).as_py())
        how = "rise from row to row" if rising else "differ in all rows"
        return f"whole numbers that {how}, as of an identifier"
    try:
        refuse_doubtful(splits["train"], [name], cells, target=False)
    except CellsError as doubt:
        return _lower(doubt.on_command_line("data.cells"))
    if pa.types.is_integer(train.type) or pa.types.is_floating(train.type):
        return _fault_of_numbers(name, values)
    return _fault_of_others(name, values)


def _column(rows: datasets.Dataset, name: str) -> Any:
    column = rows.with_format("arrow").select_columns([name])[:][name]
    return pc.if_else(pc.is_nan(column), None, column) if pa.types.is_floating(column.type) else column


def _one_value(train: Any) -> str | None:
    known = pc.drop_null(train)
    if pa.types.is_string(train.type) or pa.types.is_large_string(train.type):
        known = pc.filter(known, pc.not_equal(known, ""))
    if len(known) == 0:
        return "no values"
    try:
        return "one value in all rows" if len(pc.unique(known)) == 1 else None
    except pa.ArrowNotImplementedError:  # lists and the like
        return None


def _is_identifier(parts: list[Any]) -> bool:
    """Return whether whole numbers differ in all rows, and rise or lie so close that chance would not do that."""
    train = parts[0]
    if any(part.null_count for part in parts) or len(train) <= 2:
        return False
    if pc.all(pc.less(train[:-1], train[1:])).as_py():
        return True
    numbers = np.concatenate([part.to_numpy() for part in parts])
    span = float(numbers.max()) - float(numbers.min()) + 1
    return len(numbers) ** 2 / (2 * span) >= _CHANCE and len(np.unique(numbers)) == len(numbers)


def _fault_of_numbers(name: str, values: Mapping[str, Any]) -> str | None:
    for part in values.values():
        infinite = pc.is_inf(part) if pa.types.is_floating(part.type) else pa.array([False])
        if pc.any(infinite).as_py():
            return f"{part[pc.index(infinite, True).as_py()]} in row {pc.index(infinite, True)}"
    bare = [split for split, part in values.items() if part.null_count]
    if bare and "train" not in bare:
        return f"no number in {values[bare[0]].null_count:,} rows of the split {bare[0]!r}, but in all of 'train'"
    return None


def _fault_of_others(name: str, values: Mapping[str, Any]) -> str | None:
    known = [value for value in values["train"].to_pylist() if value is not None and value != ""]
    table = Table([name])
    try:
        table.fit({name: values["train"].to_pylist()})
        for part in values.values():
            table.prepare({name: part.to_pylist()}, range(len(part)))
    except ValueError as error:
        return _reason(known, str(error))
    return None


def _reason(known: list[Any], error: str) -> str:
    texts = all(isinstance(value, str) for value in known)
    if "dates" in error or "got a date" in error:
        return "dates"
    if texts and len(set(known)) == len(known):
        return f"a text of its own in each row, e.g. {_short(known[0])}"
    if texts and "categories, got" in error and "numbers written" not in error:
        return f"{len(set(known)):,} different texts, e.g. {_short(known[0])}"
    return _lower(error)


def _lower(error: str) -> str:
    return error[:1].lower() + error[1:].rstrip(".")


def _short(text: str) -> str:
    return repr(text if len(text) <= 30 else f"{text[:27]}...")


@rank_zero_only
def _print_on_rank_zero(text: str) -> None:
    print(text)
