"""Tables as CSV, which a spreadsheet may open."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ._whole import whole_file

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows, whole or not at all; a text that a spreadsheet would compute as a formula begins with an apostrophe.

    Args:
        path: The file.
        rows: The header and the rows.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "table.csv"
        >>> write_csv(path, [["task", "gain"], ["=1+1", -0.5]])
        >>> path.read_text().splitlines()
        ['task,gain', "'=1+1,-0.5"]
    """
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
