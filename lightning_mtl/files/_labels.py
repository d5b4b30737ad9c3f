"""Labels that look the same: they differ in outer blanks, or in how Unicode writes them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_FEW = 20
"""Different texts that may be labels, however few the rows."""
_SHORT = 60
"""Mean length, in bytes, up to which texts may be labels."""


def same_labels(column: Any) -> Any:
    """Return a column in which labels that only differ in outer blanks, or in the normal form of Unicode, are equal.

    Columns without such labels, and columns of texts that hardly recur, are returned as they are.
    """
    rows = len(column) - column.null_count
    if not rows or (pc.sum(pc.binary_length(column)).as_py() or 0) > _SHORT * rows:
        return column
    values = pc.drop_null(pc.unique(column))
    if len(values) > max(_FEW, rows // 2):
        return column
    tidy = tidy_labels(values)
    return tidy_labels(column) if len(pc.unique(tidy)) < len(values) else column


def tidy_labels(texts: Any) -> Any:
    """Return labels without outer blanks, each letter and its marks as one."""
    return pc.utf8_normalize(pc.utf8_trim_whitespace(texts), form="NFC")


def all_indented(column: Any) -> bool:
    """Return whether all texts begin with a blank, as after the comma in "a, b"."""
    known = pc.drop_null(column)
    return len(known) > 0 and pc.all(pc.match_substring_regex(known, r"^\s")).as_py() is True


def as_chunks(column: Any) -> pa.ChunkedArray:
    """Return an array as one of chunks."""
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
