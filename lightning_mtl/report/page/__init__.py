"""Findings, figures and a page, made of the records of runs."""

from ._figures import Section, sections
from ._finding import Finding
from ._findings import findings
from ._loggers import log_figures
from ._writing import write_report

__all__ = ["Finding", "Section", "findings", "log_figures", "sections", "write_report"]
