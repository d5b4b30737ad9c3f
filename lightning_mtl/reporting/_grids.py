"""Grids of numbers: who fights whom, who helps whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from ._drawing import DIVERGING, INK, RISING, WIDTH, Panel, blank, draw, legend, text
from ._run import Run, square
from ._words import MINUS, known, percent

Values = Sequence[Sequence[float | None]]
_MANY = 7
"""With more rows a grid takes the whole width."""


def relation_panels(runs: Sequence[Run]) -> list[Panel]:
    """Draw affinity, cosines, how often gradients point apart, and cosines over time, of each run that has them."""
    made = []
    for i, run in enumerate(runs):
        of = f": {run.name}" if len(runs) > 1 else ""
        made += [_affinity(i, run.monitor("TransferMonitor"), of)]
        made += [_cosine(i, run.monitor("ConflictMonitor"), of), _rate(i, run.monitor("ConflictMonitor"), of)]
        made += [_history(i, run.monitor("ConflictMonitor"), of)]
    return [panel for panel in made if panel is not None]


def _affinity(i: int, of: dict[str, Any], run: str) -> Panel | None:
    names = of.get("tasks") or []
    if not names:
        return None
    means, errors = without_diagonal(square(of.get("affinity"), len(names))), square(of.get("error"), len(names))
    cells = [
        [_with_error(mean, error) for mean, error in zip(row, wide, strict=True)]
        for row, wide in zip(means, errors, strict=True)
    ]
    caption = "Row: the task whose update it is; column: the task whose loss it changes. Blue helps, orange hurts; below, the standard error."
    return grid(f"affinity-{i}", f"Affinity{run}", means, names, names, cells, caption=caption)


def _with_error(mean: float | None, error: float | None) -> str:
    if mean is None:
        return ""
    return f"{percent(mean, True)}\n\u00b1{percent(error)}" if error is not None else percent(mean, True)


def _cosine(i: int, of: dict[str, Any], run: str) -> Panel | None:
    names = of.get("tasks") or []
    if not names:
        return None
    values = without_diagonal(square(of.get("cosine"), len(names)))
    caption = "Mean cosine of two tasks' gradients. Blue: they point the same way; orange: apart."
    return grid(f"cosine-{i}", f"Gradients: cosine{run}", values, names, names, _two_digits(values), caption=caption)


def _rate(i: int, of: dict[str, Any], run: str) -> Panel | None:
    names = of.get("tasks") or []
    if not names or not of.get("conflict_rate"):
        return None
    values = without_diagonal(square(of.get("conflict_rate"), len(names)))
    cells = [[percent(value) if value is not None else "" for value in row] for row in values]
    caption = "Share of the looks in which two tasks' gradients point apart; more than half is blue, less is pale."
    return grid(
        f"conflict-{i}", f"Gradients: how often apart{run}", values, names, names, cells, caption=caption, top=1.0
    )


def without_diagonal(values: Values) -> list[list[float | None]]:
    """Leave out what a task does to itself, which would drown the rest."""
    return [[None if i == j else value for j, value in enumerate(row)] for i, row in enumerate(values)]


def _two_digits(values: Values) -> list[list[str]]:
    return [["" if value is None else f"{value:+.2f}".replace("-", MINUS) for value in row] for row in values]


def grid(
    name: str,
    title: str,
    values: Values,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    *,
    caption: str,
    by_column: bool = False,
    top: float | None = None,
) -> Panel:
    """Draw a grid of numbers, coloured around zero, from 0 to `top`, or within each column."""
    wide = max(len(rows), len(columns)) > _MANY
    width = 2 * WIDTH + 0.2 if wide else WIDTH
    figure, (axes,) = blank(min(1.2 + 0.5 * len(rows), 9.0), width=width)
    shades = _by_column(values) if by_column else [[math.nan if v is None else v for v in row] for row in values]
    ends, colours = ((0.0, top or 1.0), RISING) if by_column or top else (_around_zero(values), DIVERGING)
    axes.imshow(shades, cmap=colours, vmin=ends[0], vmax=ends[1], aspect="auto")
    size = 9 if max(len(rows), len(columns)) <= 4 or wide else 7.5
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            shade = (shades[i][j] - ends[0]) / (ends[1] - ends[0])
            dark = shade > 0.82 or (shade < 0.1 and colours is DIVERGING)
            axes.text(j, i, cell, ha="center", va="center", fontsize=size, color="white" if dark else INK)
    room = 16 if len(columns) <= 3 else 9
    axes.set_xticks(
        range(len(columns)), [text(name, room) for name in columns], rotation=0 if len(columns) <= 5 else 30
    )
    axes.set_yticks(range(len(rows)), [text(name, 16) for name in rows])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(text(title, 44))
    return Panel(name, figure, _alt(title, rows, columns, cells), caption, wide)


def _around_zero(values: Values) -> tuple[float, float]:
    most = (
        max((abs(value) for row in values for value in row if value is not None and known(value)), default=0.0) or 1.0
    )
    return -most, most


def _by_column(values: Values) -> list[list[float]]:
    columns = [[value for value in column if value is not None] for column in zip(*values, strict=True)]
    ends = [(min(column, default=0.0), max(column, default=1.0)) for column in columns]
    return [
        [
            math.nan if value is None else 0.8 * (value - low) / ((high - low) or 1.0)
            for value, (low, high) in zip(row, ends, strict=True)
        ]
        for row in values
    ]


def _alt(title: str, rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    told = [
        f"{row}, {column}: {cell.replace(chr(10), ' ')}"
        for row, line in zip(rows, cells, strict=True)
        for column, cell in zip(columns, line, strict=True)
        if cell
    ]
    return f"{title}. {'; '.join(told)}."


def _history(i: int, of: dict[str, Any], run: str) -> Panel | None:
    """Draw the cosines of the pairs that point apart most, over time."""
    names, history = of.get("tasks") or [], of.get("history") or []
    means = square(of.get("cosine"), len(names))
    pairs = [(a, b) for a, b in combinations(range(len(names)), 2) if means[a][b] is not None]
    pairs = sorted(pairs, key=lambda pair: means[pair[0]][pair[1]] or 0.0)[:4]
    if len(history) < 2 or not pairs:
        return None
    figure, (axes,) = blank(2.9)
    for k, (a, b) in enumerate(pairs):
        seen = [(float(look["step"]), square(look.get("cosine"), len(names))[a][b]) for look in history]
        draw(
            axes,
            [(step, value) for step, value in seen if value is not None],
            k,
            f"{text(names[a], 10)} ~ {text(names[b], 10)}",
        )
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_title(text(f"Cosines over time{run}", 44))
    axes.set_ylabel("cosine of gradients")
    axes.set_xlabel("step")
    legend(figure, axes, columns=2)
    told = ", ".join(f"{names[a]} and {names[b]}" for a, b in pairs)
    return Panel(
        f"cosines-{i}",
        figure,
        f"Cosines of the gradients of {told} by step.",
        "The pairs that point apart most, on average.",
    )
