"""What a run showed, kept and written as a page."""

from ._recorder import Report, write_report

__all__ = [
    "Report",
    "write_report",
]
