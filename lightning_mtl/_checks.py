"""What arguments must be, and what a mistyped one may mean."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Set
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

Bound = int | float | None


def require(holds: bool, name: str, rule: str, value: object, remedy: str) -> None:
    """Check that an argument obeys its rule.

    Raises:
        ValueError: It does not.
    """
    if not holds:
        raise ValueError(f"`{name}` must be {rule}, got {value!r}. {remedy}")


def require_number(
    name: str,
    value: Any,
    remedy: str,
    *,
    above: Bound = None,
    at_least: Bound = None,
    below: Bound = None,
    at_most: Bound = None,
    whole: bool = False,
    finite: bool = True,
    optional: bool = False,
    of: str = "",
) -> None:
    """Check that an argument is a real number within its bounds; texts and tensors are none, whatever they hold.

    Args:
        name: Name of the argument.
        value: What was given.
        remedy: What to do about it.
        above: A bound that is not allowed itself.
        at_least: A bound that is allowed itself.
        below: A bound that is not allowed itself.
        at_most: A bound that is allowed itself.
        whole: Whether it is a count, which must be an integer: 2.0 and True are none.
        finite: Whether infinity is refused; NaN is in any case where there is a bound.
        optional: Whether None is allowed.
        of: What the argument belongs to, for example "task 'a'".

    Raises:
        TypeError: It is not a number.
        ValueError: It breaks its rule.

    Example:
        >>> require_number("dropout", 1, "0 is none.", at_least=0, below=1)
        Traceback (most recent call last):
        ValueError: `dropout` must be at least 0 and below 1, got 1. 0 is none.
        >>> require_number("rows", "9", "100 are enough.", at_least=1, whole=True)
        Traceback (most recent call last):
        TypeError: `rows` must be a whole number, got '9' (str). Give a number. 100 are enough.
    """
    if optional and value is None:
        return
    argument, kind = f"`{name}`{of and f' of {of}'}", "a whole number" if whole else "a number"
    if not _is_number(value, whole):
        raise TypeError(f"{argument} must be {kind}, got {value!r} ({type(value).__name__}). Give a number. {remedy}")
    low = (above is None or value > above) and (at_least is None or value >= at_least)
    high = (below is None or value < below) and (at_most is None or value <= at_most)
    exact = isinstance(value, Integral) or not (whole or (finite and not math.isfinite(value)))
    if not (low and high and exact):
        bounds = _bounds(above, at_least, below, at_most)
        if whole:
            rule = f"{kind} {bounds if bounds.startswith('from') else bounds and f'of {bounds}'}".strip()
        else:
            unlimited = finite and (below is None and at_most is None)
            rule = " and ".join(filter(None, ["finite" if unlimited else "", bounds]))
        shown = repr(value) if exact or not whole else f"{value!r} ({type(value).__name__})"
        raise ValueError(f"{argument} must be {rule}, got {shown}. {remedy}")


def _is_number(value: object, whole: bool) -> bool:
    return not (whole and isinstance(value, bool)) and isinstance(value, Real)


def require_numbers(
    name: str, values: Any, remedy: str, *, named: bool = False, optional: bool = False, of: str = "", **rule: Any
) -> None:
    """Check that an argument is a list or dict of real numbers within their bounds, see `require_number`.

    Args:
        name: Name of the argument.
        values: What was given.
        remedy: What to do about it.
        named: Whether it must be a dict.
        optional: Whether None is allowed in its place.
        of: What the argument belongs to.
        rule: The rule for each, see `require_number`.

    Raises:
        TypeError: It is not, or one of them is not a number.
        ValueError: One of them breaks its rule.

    Example:
        >>> require_numbers("weights", {"a": -1.0}, "0 turns a task off.", at_least=0)
        Traceback (most recent call last):
        ValueError: `weights['a']` must be finite and at least 0, got -1.0. 0 turns a task off.
    """
    if optional and values is None:
        return
    if not isinstance(values, Mapping if named else Collection) or isinstance(values, str | bytes | Set):
        argument, kind = f"`{name}`{of and f' of {of}'}", "be a dict of numbers" if named else "hold numbers"
        raise TypeError(f"{argument} must {kind}, got {values!r} ({type(values).__name__}). {remedy}")
    for key, value in values.items() if isinstance(values, Mapping) else enumerate(values):
        require_number(f"{name}[{key!r}]", value, remedy, of=of, **rule)


def require_range(name: str, limits: Any, remedy: str, **rule: Any) -> None:
    """Check that an argument is two real numbers, of which the second is not below the first, see `require_number`.

    Raises:
        TypeError: One of them is not a number.
        ValueError: They are not two, not in order, or break their rule.
    """
    require_numbers(name, limits, remedy, **rule)
    pair = list(limits)
    ordered = len(pair) == 2 and pair[0] <= pair[1]
    require(ordered, name, "two numbers of which the second is not below the first", limits, remedy)


def _bounds(above: Bound, at_least: Bound, below: Bound, at_most: Bound) -> str:
    """Return bounds in words."""
    if at_least is not None and at_most is not None:
        return f"from {at_least} to {at_most}"
    named = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    return " and ".join(f"{word} {bound}" for word, bound in named.items() if bound is not None)


def did_you_mean(name: str, names: Iterable[str], otherwise: str = "Name one of these.") -> str:
    """Suggest the name that is most like a mistyped one, or else another remedy."""
    close = get_close_matches(name, list(names), 1)
    return f"Did you mean {close[0]!r}?" if close else otherwise
