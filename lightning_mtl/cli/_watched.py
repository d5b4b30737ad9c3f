"""The run of a comparison that monitors watch, and the report of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import lightning as L

from .._pictures import drawn
from ..report import Report


class Watched:
    """Makes the monitors of one run, and keeps its report.

    Args:
        monitors: Makes the monitors; None for none.
    """

    def __init__(self, monitors: Callable[[], Sequence[L.Callback]] | None) -> None:
        self._monitors = monitors
        self.report: Report | None = None
        """The report of the run that is watched, once it has begun."""

    def why_not(self) -> str | None:
        """Return why there will be no report, where it is wanted and cannot be drawn; then nothing is watched."""
        left_out = None if self._monitors is None else drawn(Report, "report.html")
        self._monitors = None if left_out is not None else self._monitors
        return left_out

    def callbacks(self) -> list[L.Callback]:
        """Return the callbacks of the run that is watched."""
        if self._monitors is None:
            return []
        self.report = Report()
        return [*self._monitors(), self.report]
