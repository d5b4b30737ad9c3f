"""Tables of text."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align text in columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    head = [header[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(header[1:], widths[1:], strict=True))]
    return "\n".join("  ".join(cells) for cells in (head, ["-" * w for w in widths], *lines))
