"""Numbers and names written for sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...metrics import FEWEST

MINUS = "\u2212"
Number = int | float


def number(value: Number | None, sign: bool = False) -> str:
    """Write a number to about three digits.

    Args:
        value: The number; None is "unknown".
        sign: Whether a positive number is written with its sign.

    Example:
        >>> number(0.12345), number(2.0, sign=True), number(12345.6), number(None)
        ('0.123', '+2.00', '12,346', 'unknown')
    """
    if value is None or not math.isfinite(value):
        return "unknown"
    size = abs(value)
    digits = "0" if size == 0 else f"{size:,.{_places(size)}f}" if 1e-4 <= size < 1e9 else f"{size:.1e}"
    return (MINUS if value < 0 else "+" if sign and value > 0 else "") + digits


def _places(size: Number) -> int:
    return 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.01 else 4


def whole(value: Number | None) -> str:
    """Write a number without a fraction.

    Args:
        value: The number; None is "unknown".

    Example:
        >>> whole(50), whole(1200.0)
        ('50', '1,200')
    """
    return f"{value:,.0f}" if value is not None and known(value) else "unknown"


def quoted(names: Sequence[str]) -> str:
    """Write names of runs, in quotation marks.

    Args:
        names: The names.

    Example:
        >>> quoted(["joint"]) == "\u201cjoint\u201d"
        True
    """
    return listed([f"\u201c{name}\u201d" for name in names])


def percent(share: Number | None, sign: bool = False) -> str:
    """Write a share in percent.

    Args:
        share: The share; None is "unknown".
        sign: Whether a positive share is written with its sign.

    Example:
        >>> percent(0.5), percent(0.00213, sign=True)
        ('50%', '+0.21%')
    """
    if share is None or not math.isfinite(share):
        return "unknown"
    size = abs(100 * share)
    digits = f"{size:.0f}" if size >= 10 or size == 0 else f"{size:.1f}" if size >= 1 else f"{size:.2g}"
    return f"{MINUS if share < 0 else '+' if sign else ''}{digits}%"


def interval(bounds: Sequence[Number | None]) -> str:
    """Write a mean with its interval.

    Args:
        bounds: Mean, low, high; a single seed has no bounds.

    Example:
        >>> interval([0.5, 0.25, 0.75])
        '+0.500 [+0.250, +0.750]'
        >>> interval([0.5, None, None])
        '+0.500 (one seed, no interval)'
        >>> interval([None, None, None])
        'unknown'
    """
    mean, low, high = bounds
    if not known(mean):
        return "unknown"
    if not known(low, high):
        return f"{number(mean, sign=True)} (one seed, no interval)"
    return f"{number(mean, sign=True)} [{number(low, sign=True)}, {number(high, sign=True)}]"


def known(*values: Number | None) -> bool:
    """Return whether all of these are finite numbers.

    Args:
        values: Numbers, or None.
    """
    return all(value is not None and math.isfinite(value) for value in values)


def listed(names: Sequence[str]) -> str:
    """Write names with commas and "and" between.

    Args:
        names: The names.

    Example:
        >>> listed(["a"]), listed(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"


def counted(count: Number | None, noun: str) -> str:
    """Write how many there are of something.

    Args:
        count: The number; None is "an unknown number".
        noun: The thing, in the singular.

    Example:
        >>> counted(1, "row"), counted(1200, "row")
        ('1 row', '1,200 rows')
    """
    if count is None:
        return f"an unknown number of {noun}s"
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"


def too_few(validations: int, of: str = "") -> str:
    """Return a sentence that says that there were too few validations for an alarm.

    Args:
        validations: How many there were.
        of: The task in question.
    """
    were = "was" if validations == 1 else "were"
    return f"Cannot be said{of and f' for {of}'}: an alarm needs {FEWEST} validations of a task, there {were} {validations}."


def verb(names: Sequence[str], one: str, many: str) -> str:
    """Return the form of a verb that agrees with its subject.

    Args:
        names: The names that make the subject.
        one: The form for one.
        many: The form for several.
    """
    return one if len(names) == 1 else many
