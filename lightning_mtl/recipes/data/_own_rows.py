"""The rows of a user's file, with errors that name the options of the command line."""

from __future__ import annotations

from collections.abc import Sequence

import datasets

from lightning_mtl.data import refuse_doubtful as refuse_doubtful_column
from lightning_mtl.files import Cells, CellsError, read_rows


def own_rows(path: str, cells: Cells, prefix: str = "data") -> datasets.Dataset:
    """Read a file; see `read_rows`.

    Args:
        path: The file.
        cells: What its cells mean.
        prefix: What stands before the names of the options of `Cells`.

    Raises:
        ValueError: The file cannot be read, or in two ways; the message names the options that settle it.
    """
    try:
        return read_rows(path, cells=cells)
    except CellsError as error:
        raise ValueError(error.on_command_line(prefix)) from error


def refuse_doubtful(
    rows: datasets.Dataset, columns: Sequence[str], cells: Cells, prefix: str = "data", *, target: bool = True
) -> None:
    """Check that columns of texts are no numbers, lists or gaps that a program wrote as texts.

    Args:
        rows: The rows.
        columns: The columns.
        cells: What the user says of their cells.
        prefix: What stands before the names of the options of `Cells`.
        target: Whether a task learns them.

    Raises:
        ValueError: A column can be read in two ways; the message names the options that settle it.
    """
    for name in columns:
        if (found := doubt_of(rows, name, cells, target=target)) is not None:
            raise ValueError(found.on_command_line(prefix))


def doubt_of(rows: datasets.Dataset, name: str, cells: Cells, *, target: bool) -> CellsError | None:
    """Return what is doubtful about a column; None where nothing is."""
    try:
        refuse_doubtful_column(rows, [name], cells, target=target)
    except CellsError as error:
        return error
    return None
