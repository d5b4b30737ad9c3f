"""A grid of numbers, each in its cell, coloured by size."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from ._drawing import INK, WIDTH, Panel, blank, head, text

Values = Sequence[Sequence[float | None]]
Cells = Sequence[Sequence[str]]
_MANY = 7
"""With more rows or columns a grid takes the whole width."""


def grid(
    name: str,
    title: str,
    values: Values,
    scale: tuple[Colormap, float, float],
    names: tuple[Sequence[str], Sequence[str]],
    cells: Cells,
    caption: str,
) -> Panel:
    """Draw a grid.

    Args:
        name: The name of the panel.
        title: The title.
        values: Values that make the colours; None stays white.
        scale: The colours, and the values at their ends.
        names: Names of the rows, and of the columns.
        cells: Texts of the cells.
        caption: How to read it.
    """
    rows, columns = names
    wide = max(len(rows), len(columns)) > _MANY
    room = 16 if wide else 30 // len(columns)
    tilt = max(map(len, columns)) > room
    height = min(1.0 + 0.4 * tilt + 0.48 * len(rows), 9.0)
    figure, (axes,) = blank(height, width=2 * WIDTH + 0.2 if wide else WIDTH)
    colours, low, high = scale
    shades = [[nan if value is None else (value - low) / (high - low) for value in row] for row in values]
    axes.imshow(shades, cmap=colours, vmin=0, vmax=1, aspect="auto")
    size = 9 if max(len(rows), len(columns)) <= 4 or wide else 8
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            axes.text(j, i, cell, ha="center", va="center", fontsize=size, color=_ink(colours, shades[i][j]))
    _frame(axes, rows, columns, tilt)
    head(figure, title)
    return Panel(name, figure, _alt(title, rows, columns, cells), caption, wide)


def _ink(colours: Colormap, shade: float) -> str:
    """Return the colour of letters: white on a dark cell, else dark."""
    red, green, blue, _ = colours(shade)
    return "white" if shade == shade and 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK


def _frame(axes: Axes, rows: Sequence[str], columns: Sequence[str], tilt: bool) -> None:
    axes.set_xticks(range(len(columns)), [text(name, 16) for name in columns])
    axes.set_yticks(range(len(rows)), [text(name, 18) for name in rows])
    if tilt:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)


def _alt(title: str, rows: Sequence[str], columns: Sequence[str], cells: Cells) -> str:
    parts = [
        f"{row}, {column}: {' '.join(cell.split())}"
        for row, line in zip(rows, cells, strict=True)
        for column, cell in zip(columns, line, strict=True)
        if cell
    ]
    return f"{title}. {'; '.join(parts)}."
