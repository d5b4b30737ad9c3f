"""Figures of pairs of tasks: affinity, and conflicts of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import floor, log10
from typing import Any

from matplotlib.colors import Colormap

from ._drawing import DIVERGING, INK, WARNING, Panel, blank, draw, head, legend, text
from ._grids import Values, grid
from ._run import Run, read_matrix
from ._words import MINUS, percent

_MOST_PAIRS = 4
"""Pairs that are drawn over time."""


def relation_panels(runs: Sequence[Run]) -> list[Panel]:
    """Draw affinity, cosines, how often gradients point apart, and cosines over time, of each run that has them."""
    made: list[Panel | None] = []
    for i, run in enumerate(runs):
        of = f": {run.name}" if len(runs) > 1 else ""
        transfer, conflict = run.monitor("TransferMonitor"), run.monitor("ConflictMonitor")
        made += [_affinity(i, transfer, of)] if len(transfer.get("tasks") or []) > 1 else []
        if len(conflict.get("tasks") or []) > 1:
            made += [_cosine(i, conflict, of), _rate(i, conflict, of), _history(i, conflict, of)]
    return [panel for panel in made if panel is not None]


def _affinity(i: int, of: dict[str, Any], run: str) -> Panel:
    names = of["tasks"]
    means, errors = _pairs_of(of, "affinity", 100.0), _pairs_of(of, "error", 100.0)
    scale = _around_zero(means)
    places = max(0, 1 - floor(log10(scale[2])))
    cells = [
        [f"{_signed(mean, places)}\n{_error(error, places)}".strip() for mean, error in zip(row, wide, strict=True)]
        for row, wide in zip(means, errors, strict=True)
    ]
    caption = (
        "Row: the task whose update it is; column: the task whose loss it lowers, in percent of the loss. Blue helps, orange "
        "hurts. Below: the standard error."
    )
    return grid(f"affinity-{i}", f"Affinity, percent{run}", means, scale, (names, names), cells, caption)


def _signed(value: float | None, places: int) -> str:
    if value is None:
        return ""
    near = round(value, places)
    return f"{near:+.{places}f}".replace("-", MINUS) if near else f"{0:.{places}f}"


def _error(value: float | None, places: int) -> str:
    return "" if value is None else f"\u00b1{value:.{places}f}"


def _cosine(i: int, of: dict[str, Any], run: str) -> Panel:
    values = _pairs_of(of, "cosine")
    cells = [[_signed(value, 2) for value in row] for row in values]
    caption = "Mean cosine of two tasks' gradients. Blue: they point the same way; orange: apart; full colours from 0.2 on, or the largest."
    names = (of["tasks"], of["tasks"])
    return grid(
        f"cosine-{i}", f"Cosine of gradients{run}", values, _around_zero(values, least=0.2), names, cells, caption
    )


def _rate(i: int, of: dict[str, Any], run: str) -> Panel:
    values = _pairs_of(of, "conflict_rate")
    cells = [["" if value is None else percent(value) for value in row] for row in values]
    caption = "Share of the looks in which two tasks' gradients point apart."
    names = (of["tasks"], of["tasks"])
    return grid(f"conflict-{i}", f"How often apart{run}", values, (WARNING, 0.0, 1.0), names, cells, caption)


def _pairs_of(of: dict[str, Any], key: str, times: float = 1.0) -> list[list[float | None]]:
    """Read a matrix without its diagonal: the effect of a task on itself would dominate the colours."""
    rows = read_matrix(of.get(key), len(of["tasks"]))
    return [
        [None if i == j or value is None else times * value for j, value in enumerate(row)]
        for i, row in enumerate(rows)
    ]


def _around_zero(values: Values, least: float = 0.0) -> tuple[Colormap, float, float]:
    """Return a colour scale up to the largest value, but at least up to `least`."""
    most = max((least, *(abs(value) for row in values for value in row if value is not None))) or 1.0
    return DIVERGING, -most, most


def _history(i: int, of: dict[str, Any], run: str) -> Panel | None:
    """Draw the cosines of the pairs that point apart most, over time."""
    names, history, means = of["tasks"], of.get("history") or [], _pairs_of(of, "cosine")
    measured = [pair for pair in combinations(range(len(names)), 2) if means[pair[0]][pair[1]] is not None]
    pairs = sorted(measured, key=lambda pair: means[pair[0]][pair[1]] or 0.0)[:_MOST_PAIRS]
    if len(history) < 2 or not pairs:
        return None
    figure, (axes,) = blank(2.9)
    for k, (a, b) in enumerate(pairs):
        entries = [(float(entry["step"]), read_matrix(entry.get("cosine"), len(names))[a][b]) for entry in history]
        known = [(step, value) for step, value in entries if value is not None]
        draw(axes, known, k, f"{text(names[a], 12)} ~ {text(names[b], 12)}", linewidth=1.2)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylabel("cosine of gradients")
    axes.set_xlabel("step")
    head(figure, f"Cosines over time{run}")
    legend(figure, axes)
    alt = f"Cosines of the gradients of {', '.join(f'{names[a]} and {names[b]}' for a, b in pairs)} by step."
    return Panel(f"cosines-{i}", figure, alt, "The pairs that point apart most, on average.")
