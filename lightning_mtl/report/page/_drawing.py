"""What all figures have in common: size, colours that colour-blind readers can tell apart, a line style for each series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy import array_split

from ..._pictures import as_text, plain_text

WIDTH = 4.2
"""Width of a figure in inches; it is shown with 100 pixels to the inch."""
DPI = 200
"""Twice what is shown, for sharp screens and for print."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Those of Okabe and Ito, "Color universal design", 2008, without yellow, which is too light for lines."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)))
INK, GREY, BAND = "#222222", "#8a8a8a", "#eceff3"
DIVERGING = LinearSegmentedColormap.from_list("orange to blue", ["#D55E00", "#F6C9A4", "#FAFAFA", "#A9CDE6", "#0072B2"])
WARNING = LinearSegmentedColormap.from_list("white to orange", ["#FAFAFA", "#F6C9A4", "#D55E00"])
RISING = LinearSegmentedColormap.from_list("white to blue", ["#FAFAFA", "#A9CDE6", "#0072B2"])
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.dpi": DPI,
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "savefig.dpi": DPI,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


@dataclass(frozen=True)
class Panel:
    """A small figure.

    Args:
        name: The name of its file, different from all others.
        figure: The figure.
        alt: A text for those who cannot see it.
        caption: How to read it.
        wide: Whether it takes the whole width of a page.
    """

    name: str
    figure: Figure
    alt: str
    caption: str = ""
    wide: bool = False


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of the report, whatever the user's own style is."""
    kept = {"backend": matplotlib.rcParams["backend"]}
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **kept, **STYLE}
    with matplotlib.rc_context(settings), plain_text():
        yield


def blank(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure and its axes."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def line_style(i: int) -> dict[str, Any]:
    """Return the i-th line style: another colour, and other dashes and markers for those who cannot tell colours apart."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[i % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
    }


def draw(axes: Axes, points: Sequence[tuple[float, float]], i: int, label: str | None = None, **options: Any) -> None:
    """Draw values over steps in the i-th line style, with about ten markers."""
    x, y = [point[0] for point in points], [point[1] for point in points]
    style = {**line_style(i), "markevery": max(1, len(points) // 10), **options}
    axes.plot(x, y, label=label and as_text(text(label)), **style)


def head(figure: Figure, title: str) -> None:
    """Put a title at the left edge, where it has the whole width."""
    figure.suptitle(text(title, round(11 * figure.get_figwidth())), x=0.01, ha="left")


def legend(figure: Figure, axes: Axes) -> None:
    """Put a legend below the axes, if they have labels, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=_columns([len(label) for label in labels]))


def _columns(sizes: Sequence[int]) -> int:
    """Return how many columns fit: each is as wide as its longest label, with about seven letters for the line."""
    for count in (4, 3, 2):
        columns = [part for part in array_split(sizes, count) if len(part)]  # as matplotlib splits them
        if sum(max(column) + 7 for column in columns) <= 58:
            return len(columns)
    return 1


def text(name: str, size: int = 26) -> str:
    """Shorten a name."""
    return name if len(name) <= size else name[: size - 1] + "\u2026"
