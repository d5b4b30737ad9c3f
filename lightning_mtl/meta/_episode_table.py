"""The table that is printed before training: what episodes are drawn from."""

from __future__ import annotations

from collections.abc import Mapping

from .._table import table
from ..samplers import Shots
from ._class_episodes import ClassEpisodes
from ._loader import Drawing

_HEADER = ("source", "split", "classes", "rows of each", "episode", "episodes")


def episode_table(
    drawings: Mapping[str, Mapping[str, Drawing]], totals: Mapping[str, int], episodes: int, shots: Shots
) -> str:
    """Return a table with a row for each source and split.

    Args:
        drawings: {split: {source: what draws its episodes}}.
        totals: Episodes of each split that is evaluated.
        episodes: Episodes of each source in a step of training.
        shots: Examples of each class, or points of a function.
    """
    rows = []
    for split, sources in drawings.items():
        for name, drawing in sources.items():
            count = f"{totals[split]:,}" if split in totals else f"{episodes} a step"
            if isinstance(drawing, ClassEpisodes):
                sampler = drawing.sampler
                sizes = [len(rows_of_class) for rows_of_class in sampler.rows]
                each = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
                rows.append([name, split, f"{len(sizes):,}", each, f"{sampler.ways} ways, {shots} shots", count])
            else:
                rows.append([name, split, "-", "-", f"{shots} points", count])
    return table(_HEADER, rows)
