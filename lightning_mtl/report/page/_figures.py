"""All figures of a report, in sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._arms import read_comparison
from ._bars import compared_panels
from ._curves import curves
from ._drawing import Panel, styled
from ._pairs import relation_panels
from ._run import runs_of
from ._shares import level_panels, sampling_panels
from ._stages import forgetting_panels


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        key: Its name in links.
        title: Its heading.
        panels: Its figures.
    """

    key: str
    title: str
    panels: tuple[Panel, ...]


def sections(records: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any] | None = None) -> list[Section]:
    """Draw the figures for which there are data.

    Args:
        records: {name of the run: its record}.
        comparison: What `Comparison.record` returned.

    Example:
        >>> sections({"this run": {}})
        []
    """
    runs = runs_of(records)
    with styled():
        made = [
            Section("curves", "Learning curves", tuple(curves(runs))),
            Section("comparison", "Comparison", tuple(compared_panels(read_comparison(comparison)))),
            Section("forgetting", "Forgetting over time", tuple(forgetting_panels(runs))),
            Section("relations", "Conflict and affinity", tuple(relation_panels(runs))),
            Section("sampling", "Sampling and balancing", tuple(sampling_panels(runs))),
            Section("levels", "Work of each level", tuple(level_panels(runs))),
        ]
    return [section for section in made if section.panels]
