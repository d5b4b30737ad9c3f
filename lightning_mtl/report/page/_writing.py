"""The folder of a report: the page, and its figures as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg

from ...writing import whole_file, whole_folder
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
    written = page(title, records, comparison, findings(records, comparison), drawn, images)
    path, figures = Path(folder) / "report.html", Path(folder) / "report"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, whole_folder(figures) as pictures:
        part.write_text(written, encoding="utf-8")
        for name, image in images.items():
            (pictures / f"{name}.png").write_bytes(image)
    for old in figures.glob("*.png"):
        if old.stem not in images:
            old.unlink()
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
