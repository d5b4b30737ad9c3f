"""Records of runs as findings, figures and a page."""

from ._figures import Section, sections
from ._finding import Finding
from ._findings import findings
from ._series import Series
from ._showing import show
from ._writing import write_report

__all__ = ["Finding", "Section", "Series", "findings", "sections", "show", "write_report"]
