"""Pictures in which names are drawn as they are, and which are left out where they cannot be drawn."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def plain_text() -> Iterator[None]:
    """Let matplotlib draw texts as they are: a dollar is a dollar, whatever the user's own settings are.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("A picture needs matplotlib: pip install 'lightning-mtl[recipes]'") from error
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it is drawn as a box
        yield


def as_text(name: str, longest: int = 40) -> str:
    """Return a name as a text of a picture: short, in one line, and never one that matplotlib leaves out of a legend.

    Args:
        name: The name.
        longest: Letters of it that are shown at most.

    Example:
        >>> as_text("_cost in $")
        ' _cost in $'
    """
    line = re.sub(r"[\x00-\x1f\x7f]", " ", name)
    line = line if len(line) <= longest else f"{line[: longest - 1]}\u2026"
    return f" {line}" if line.startswith("_") else line


def drawn(draw: Callable[[], Any], name: str) -> str | None:
    """Draw a picture, and return None, or else a line that says why it is left out: what was computed is worth more.

    Args:
        draw: Draws it.
        name: Its file.
    """
    try:
        draw()
    except ModuleNotFoundError as error:
        return f"{name} is left out. {error}"
    except Exception as error:  # any of matplotlib's, or of the disk
        told = str(error).strip().splitlines()
        return f"{name} is left out: {type(error).__name__}{f': {told[-1]}' if told else ''}"
    return None
