"""Figures of the shares of tasks in training: rates and weights over time, rows that were drawn, work of each level."""

from __future__ import annotations

from collections.abc import Sequence

from ..._plain import escaped
from ._drawing import COLOURS, INK, Panel, blank, draw, head, legend, text
from ._run import Run
from ._words import counted, listed, number, percent

_OVER_TIME = (
    ("rate", "Sampling rates", "share of steps or rows"),
    ("loss_weight", "Balancing weights", "loss weight"),
    ("loss_share", "Shares of the loss", "share of the loss"),
)


def sampling_panels(runs: Sequence[Run]) -> list[Panel]:
    """Draw rates, weights and shares over time, and the rows that were drawn, of each run."""
    made: list[Panel | None] = []
    for i, run in enumerate(runs):
        of = f": {run.name}" if len(runs) > 1 else ""
        made += [_over_time(i, run, key, title + of, unit) for key, title, unit in _OVER_TIME]
        made.append(_draws(i, run, of))
    return [panel for panel in made if panel is not None]


def _over_time(i: int, run: Run, key: str, title: str, unit: str) -> Panel | None:
    names = [task["name"] for task in run.tasks]
    logged = [(k, name) for k, name in enumerate(names) if run.points(f"train/{escaped(name)}/{key}")]
    if not logged:
        return None
    figure, (axes,) = blank(2.8 + 0.18 * max(0, (len(logged) - 3) // 3))
    for k, name in logged:
        draw(axes, run.points(f"train/{escaped(name)}/{key}"), k, text(name, 14))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    head(figure, title)
    axes.set_ylabel(unit)
    axes.set_xlabel("step")
    legend(figure, axes)
    parts = ", ".join(f"{name} {number(run.last(f'train/{name}/{key}'))}" for _, name in logged)
    return Panel(f"{key.replace('_', '-')}-{i}", figure, f"{title} by step; at the end {parts}.")


def _draws(i: int, run: Run, of: str) -> Panel | None:
    draws = (run.record.get("draws") or {}).get("sources") or {}
    if not draws:
        return None
    figure, (left, right) = blank(1.2 + 0.4 * len(draws), columns=2, sharey=True)
    for axes, key, label in ((left, "drawn", "rows drawn"), (right, "passes", "passes (epochs)")):
        values = [source.get(key) or 0.0 for source in draws.values()]
        bars = axes.barh(range(len(draws)), values, color=COLOURS[0], height=0.6)
        words = [
            number(source.get(key)) if key == "passes" else f"{source.get(key) or 0:,.0f}" for source in draws.values()
        ]
        axes.bar_label(bars, words, padding=3, fontsize=8.5, color=INK)
        axes.set_xlim(right=1.45 * max(*values, 1e-9))
        axes.set_xlabel(label)
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
    left.set_yticks(range(len(draws)), [text(name, 14) for name in draws])
    left.invert_yaxis()
    head(figure, f"Drawn{of}")
    parts = "; ".join(
        f"{name}: {counted(source.get('drawn'), 'row')}, {number(source.get('passes'))} passes"
        for name, source in draws.items()
    )
    return Panel(f"draws-{i}", figure, f"Drawn from each source: {parts}.")


def level_panels(runs: Sequence[Run]) -> list[Panel]:
    """Draw the share of each level in the encoder's work, of each run that has levels."""
    made = [_levels(i, run, f": {run.name}" if len(runs) > 1 else "") for i, run in enumerate(runs)]
    return [panel for panel in made if panel is not None]


def _levels(i: int, run: Run, of: str) -> Panel | None:
    levels = [level for level in run.record.get("levels") or [] if level.get("share") is not None]
    if not levels:
        return None
    figure, (axes,) = blank(1.2 + 0.42 * len(levels))
    shares = [100 * level["share"] for level in levels]
    bars = axes.barh(range(len(levels)), shares, color=COLOURS[0], height=0.6)
    words = [
        percent(level["share"]) + (f"  {text(', '.join(level['tasks']), 24)}" if level.get("tasks") else "")
        for level in levels
    ]
    axes.bar_label(bars, words, padding=4, fontsize=8.5, color=INK)
    axes.set_xlim(0, 2.1 * max(*shares, 1e-9))
    axes.set_yticks(range(len(levels)), [text(str(level.get("name")), 18) for level in levels])
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlabel("share of the encoder's work; the tasks that sit there")
    head(figure, f"Work of each level{of}")
    parts = "; ".join(
        f"{level.get('name')}: {percent(level['share'])}, tasks {listed(level.get('tasks') or [])}" for level in levels
    )
    return Panel(f"levels-{i}", figure, f"Work of each level, from the bottom up: {parts}.")
