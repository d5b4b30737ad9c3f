"""Tables of text."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Control characters, line ends, halves of characters, and what turns the direction of the text that follows.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    r"""Write control characters as escapes, so that a name from the data neither ends a line nor commands a terminal.

    Example:
        >>> print(one_line("fine\nLoss: 0"))
        fine\nLoss: 0
    """
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align text in columns: the first to the left, the others to the right."""
    header, rows = [one_line(cell) for cell in header], [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    head = [header[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(header[1:], widths[1:], strict=True))]
    return "\n".join("  ".join(cells) for cells in (head, ["-" * w for w in widths], *lines))
