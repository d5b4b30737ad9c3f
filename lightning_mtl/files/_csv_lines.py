"""The lines of a CSV file: which are broken, and why."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from ._cells import OTHER_ENCODINGS, CellsError

MARKS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
"""What may stand between two fields."""
_SHOWN = 5
_Cells = list[str] | str
"""The cells of a line, or what is wrong with it."""


def header_of(text: str, separator: str, file: Path) -> tuple[list[str], int]:
    """Return the names of the columns, without outer blanks, and how many lines they take; unnamed ones are "".

    Raises:
        ValueError: A name stands twice, or the line is broken.
    """
    with fields_of_any_length():
        reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
        number, cells = next(_lines_of(reader), (1, []))
        assert number == 1
        fault = _fault(cells, len(cells))
        names = [cells] if isinstance(cells, str) else [name.strip() for name in cells]
        if fault is None and (doubled := sorted({name for name in names if name and names.count(name) > 1})):
            fault = f"{doubled} more than once"
    if fault:
        raise bad_header(fault, file)
    return names, reader.line_num


def bad_header(fault: str, file: Path) -> ValueError:
    """Return the error for a first line that does not name the columns."""
    return CellsError(
        f"`path` must name each column once in its first line, got {fault} in {str(file)!r}",
        OTHER_ENCODINGS if "UTF-8" in fault else [],
        "Name the columns, in UTF-8 (pandas writes no name for its index: `to_csv(path, index=False)` leaves that out)",
    )


def rows_of(text: str, width: int, separator: str, file: Path) -> list[list[str]]:
    """Return the cells of each line after the first, read one by one.

    Raises:
        ValueError: Lines are broken, with their numbers.
    """
    broken, rows = [], []
    with fields_of_any_length():
        reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = _lines_of(reader)
        next(lines)
        for number, cells in _without_blank_end(lines):
            if fault := _fault(cells, width):
                broken.append(f"line {number} ({fault})")
            elif not isinstance(cells, str):
                rows.append(cells)
    if broken:
        raise _broken(broken, width, separator, file)
    return rows


def _lines_of(reader: csv._reader) -> Iterator[tuple[int, _Cells]]:
    """Return the number of each record's first line, and its cells or what is wrong with its quotes."""
    while True:
        number = reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, "a quote that is never closed" if "end of data" in str(error) else "a quote out of place"


def _without_blank_end(lines: Iterable[tuple[int, _Cells]]) -> Iterator[tuple[int, _Cells]]:
    """Leave out the blank lines at the end of a file."""
    held = []
    for line in lines:
        held.append(line)
        if not _is_blank(line[1]):
            yield from held
            held.clear()


def _is_blank(cells: _Cells) -> bool:
    return not cells or (len(cells) == 1 and cells[0].isspace())


def _fault(cells: _Cells, width: int) -> str | None:
    """Return what is wrong with a line that must have so many cells; None where nothing is."""
    if isinstance(cells, str):
        return cells
    try:
        joined = "".join(cells)
        joined.encode()
    except UnicodeEncodeError:
        return "bytes that are not UTF-8"
    if "\0" in joined:
        return "a byte of zero"
    if _is_blank(cells):
        return "blank"
    return None if len(cells) == width else f"{len(cells)} {fields(len(cells))}"


def fields(count: int) -> str:
    """Return "field" or "fields"."""
    return "field" if count == 1 else "fields"


def _broken(lines: list[str], width: int, separator: str, file: Path) -> ValueError:
    more = f" and {len(lines) - _SHOWN:,} more" if len(lines) > _SHOWN else ""
    found = f"{', '.join(lines[:_SHOWN])}{more} in {str(file)!r}"
    remedy = (
        f"Correct these lines: save the file as UTF-8, put a field that holds a {MARKS[separator]}, a quote or a line break "
        'into quotes ("), and double the quotes within it'
    )
    return CellsError(
        f"`path` must hold {width} {fields(width)} in every line, as in its header, got {found}",
        OTHER_ENCODINGS if all("UTF-8" in line for line in lines) else [],
        remedy,
    )


@contextmanager
def fields_of_any_length() -> Iterator[None]:
    """Lift the limit of the csv module, which rejects a text of more than 131,072 characters."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
