"""The folder of a report: the page, and its figures as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg

from ._drawing import styled
from ._figures import Section, sections
from ._findings import findings
from ._page import page

TITLE = "Multi-task learning report"


def write_report(
    folder: str | Path,
    records: Mapping[str, Mapping[str, Any]],
    comparison: Mapping[str, Any] | None = None,
    title: str = TITLE,
) -> Path:
    """Write the page of one or several runs, `report.html`, and its figures, `report/*.png`; see `lightning_mtl.report.write_report`.

    Args:
        folder: The folder of the page.
        records: {name of the run: its record}.
        comparison: What `Comparison.record` returned.
        title: The heading.
    """
    drawn = sections(records, comparison)
    images = as_png(drawn)
    figures = Path(folder) / "report"
    figures.mkdir(parents=True, exist_ok=True)
    for old in figures.glob("*.png"):
        old.unlink()
    for name, image in images.items():
        (figures / f"{name}.png").write_bytes(image)
    path = Path(folder) / "report.html"
    path.write_text(page(title, records, comparison, findings(records, comparison), drawn, images), encoding="utf-8")
    return path


def as_png(drawn: Sequence[Section]) -> dict[str, bytes]:
    """Return all figures as PNG, by name."""
    made = {}
    with styled():
        for panel in (panel for section in drawn for panel in section.panels):
            file = BytesIO()
            canvas: Any = FigureCanvasAgg(panel.figure)
            canvas.print_png(file, metadata={"Software": None})  # `savefig` would lay it out twice
            made[panel.name] = file.getvalue()
    return made
