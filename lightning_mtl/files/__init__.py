"""The user's files, and what programs keep in memory, as rows."""

from ._cells import Cells, CellsError
from ._doubts import refuse_doubts, refuse_frequent_na
from ._files import read_rows, read_sentences
from ._rows import rows_of_frame, rows_of_values, settled_rows, settled_values

__all__ = [
    "Cells",
    "CellsError",
    "read_rows",
    "read_sentences",
    "refuse_doubts",
    "refuse_frequent_na",
    "rows_of_frame",
    "rows_of_values",
    "settled_rows",
    "settled_values",
]
