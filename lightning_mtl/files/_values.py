"""Values of Python as a column of Arrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ._cells import Cells, CellsError, Way
from ._numbers import NO_NUMBER, numbers_of, tidied

_NUMBER = int | float | np.number


def column_of(name: str, values: Sequence[Any], cells: Cells, where: str = "row") -> Any:
    """Return values as a column: of texts, numbers, truth values, lists or mappings, with null where there is none.

    Texts among numbers that mean that there is no number, such as "" or "?", are null.

    Args:
        name: The column, for error messages.
        values: Its values.
        cells: What the user says of them.
        where: What rows are called in error messages.

    Raises:
        CellsError: Values of several kinds, with the first row of the rarer one.
    """
    values = [None if value is not None and type(value) is float and value != value else value for value in values]
    kinds = Counter(_kind(value) for value in values if value is not None)
    if kinds["text"] and len(kinds) > 1:
        values = _of_one_kind(name, values, kinds, cells, where)
    elif cells.kind_of(name) == "text" and kinds.keys() <= {"number", "truth value"}:
        values = [None if value is None else str(value) for value in values]
    elif len(kinds) > 1:
        raise _mixed(name, values, kinds, where)
    if kinds.keys() == {"number"} and {type(value) for value in values} - {type(None)} == {int, float}:
        return _fractions(name, values, where)
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, pa.ArrowNotImplementedError) as error:
        if kinds.keys() == {"number"}:
            return _whole_numbers(name, values, where)
        raise CellsError(
            f"Column {name!r} must hold values of one kind, got some of several in {where} {_first_odd(values)}: {error}",
            remedy="Correct the rows",
        ) from error


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "truth value"
    if isinstance(value, _NUMBER):
        return "number"
    return "list" if isinstance(value, list | tuple | np.ndarray) else type(value).__name__


def _of_one_kind(name: str, values: list[Any], kinds: Counter[str], cells: Cells, where: str) -> list[Any]:
    """Return values of texts and others as one kind, where that is certain or was asked for."""
    scalars = set(kinds) <= {"text", "number", "truth value"}
    kind = cells.kind_of(name)
    if kind is not None and scalars:
        return [None if value is None else str(value) for value in values]
    if set(kinds) == {"text", "number"}:
        absent = cells.missing_in(name)
        gone = {*(NO_NUMBER if absent is None else absent), ""}
        if all(value.strip() in gone for value in values if isinstance(value, str)):
            return [None if isinstance(value, str) else value for value in values]
    raise _mixed(name, values, kinds, where)


def _mixed(name: str, values: list[Any], kinds: Counter[str], where: str) -> CellsError:
    rarest = min(kinds, key=lambda kind: (kinds[kind], kind != "text"))
    row = next(i for i, value in enumerate(values) if value is not None and _kind(value) == rarest)
    names = " or ".join(f"{kind}s" for kind in sorted(kinds, key=lambda kind: kind != "text"))
    texts = [value for value in values if isinstance(value, str)]
    ways = []
    if texts and set(kinds) <= {"text", "number", "truth value"}:
        ways.append(Way("types", {name: "text"}, "if all are texts"))
        if numbers_of(tidied(pa.array(texts)), codes=True) is not None:
            ways.append(Way("types", {name: "number"}, "if all are numbers"))
        elif rarest == "text":
            ways.append(Way("missing", sorted(set(texts))[:5], "if there is no value"))
    return CellsError(
        f"Column {name!r} must hold {names}, not both; {where} {row} has {values[row]!r}",
        ways,
        "Else convert or drop that row" if ways else "Convert or drop that row",
    )


def _fractions(name: str, values: list[Any], where: str) -> Any:
    """Return whole numbers and fractions as fractions, if these are exact."""
    row = next((i for i, v in enumerate(values) if type(v) is int and abs(v) > 2**53), None)
    if row is not None:
        raise _not_exact(name, values[row], f"{where} {row}, beside fractions")
    return pa.array(values, pa.float64())


def _not_exact(name: str, value: int, where: str) -> CellsError:
    return CellsError(
        f"Column {name!r} must hold numbers that one type holds exactly, got {value!r} in {where}",
        [Way("types", {name: "text"}, "if these are names of classes")],
        "Else write fewer digits",
    )


def _whole_numbers(name: str, values: list[Any], where: str) -> Any:
    """Return whole numbers beyond int64, or named why that cannot be."""
    try:
        return pa.array(values, pa.uint64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        row = max((i for i, v in enumerate(values) if v is not None), key=lambda i: abs(values[i]))
        raise _not_exact(name, values[row], f"{where} {row}") from error


def _first_odd(values: list[Any]) -> int:
    """Return the number of values up to the first one that does not go with those before it."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        try:
            pa.array(values[: middle + 1])
            low = middle + 1
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, pa.ArrowNotImplementedError):
            high = middle
    return low
