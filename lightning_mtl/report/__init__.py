"""Records of runs, and a page that answers questions from them."""

from ._recorder import Report, write_report

__all__ = [
    "Report",
    "write_report",
]
