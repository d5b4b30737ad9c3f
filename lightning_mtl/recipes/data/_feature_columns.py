"""Which columns of a table can be features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import datasets
from lightning.pytorch.utilities import rank_zero_only

from lightning_mtl.inputs import Table


def feature_columns(splits: Mapping[str, datasets.Dataset], *, leave_out: Sequence[str]) -> list[str]:
    """Return the names of the columns that can be features of a table, and print why others cannot.

    Args:
        splits: {split: rows}, with a split "train".
        leave_out: Columns to leave out without a message: targets, and columns that the user drops.

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
    faults = {name: _fault(name, {split: rows[name][:] for split, rows in splits.items()}) for name in columns}
    if bad := [f"{name!r} ({fault})" for name, fault in faults.items() if fault]:
        _print_on_rank_zero(f"Left out of the features: {'; '.join(bad)}.")
    if found := [name for name, fault in faults.items() if not fault]:
        return found
    raise ValueError(f"`features` must hold at least one column, got none of {columns}. Name some, or add columns.")


def _fault(name: str, values: Mapping[str, list[Any]]) -> str | None:
    """Return why a column cannot be a feature; None if it can."""
    known = [value for value in values["train"] if value is not None and value == value and value != ""]
    if not known or all(value == known[0] for value in known[1:]):
        return "one value in all rows" if known else "no values"
    if _is_identifier(known, len(values["train"])):
        return "whole numbers that rise from row to row, as of an identifier"
    table = Table([name])
    try:
        table.fit({name: values["train"]})
        for part in values.values():
            table.prepare({name: part}, range(len(part)))
    except ValueError as error:
        return _reason(known, str(error))
    return None


def _is_identifier(known: list[Any], rows: int) -> bool:
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in known)
    return whole and len(known) == rows > 2 and all(before < after for before, after in pairwise(known))


def _reason(known: list[Any], error: str) -> str:
    texts = all(isinstance(value, str) for value in known)
    if "dates" in error or "got a date" in error:
        return "dates"
    if texts and len(set(known)) == len(known):
        return f"a text of its own in each row, e.g. {_short(known[0])}"
    if texts and "categories, got" in error and "numbers written" not in error:
        return f"{len(set(known)):,} different texts, e.g. {_short(known[0])}"
    return error[:1].lower() + error[1:].rstrip(".")


def _short(text: str) -> str:
    return repr(text if len(text) <= 30 else f"{text[:27]}...")


@rank_zero_only
def _print_on_rank_zero(text: str) -> None:
    print(text)
