"""Sizes of layers and tables."""

from __future__ import annotations

from .._checks import require_number


def require_sizes(dropout: float = 0.0, **sizes: int) -> None:
    """Check a dropout, and sizes by the names of their arguments.

    Raises:
        TypeError: One is not a number.
        ValueError: A size is not whole or below 1, or `dropout` is not at least 0 and below 1.
    """
    for name, size in sizes.items():
        require_number(name, size, "Leave it out for the default.", at_least=1, whole=True)
    require_number("dropout", dropout, "Leave it out for none.", at_least=0, below=1)
