"""How many steps an epoch has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, get_args

from .._checks import require_number, require_numbers

Policy = Literal["longest", "shortest", "proportional"]
"""A pass of the source that takes most steps; a pass of the source that takes fewest; as many steps as all sources have
batches."""
Steps = int | Policy | Mapping[str, int | float] | None
"""A number, a policy, or {source: passes}: as many steps as this number of passes of one source takes."""


def steps_of(
    asked: Steps, sources: Sequence[str], passes: Sequence[int | float], rows: Sequence[int | float], rows_a_step: float
) -> int:
    """Return the steps of an epoch.

    Args:
        asked: The `steps_per_epoch` of the user.
        sources: Names of the sources.
        passes: Steps that a pass of each source takes at its rate: infinite at rate 0, NaN where rows are not known.
        rows: Rows of each source; NaN where they are not known.
        rows_a_step: Rows of a step, on average.

    Raises:
        ValueError: A number below 1, an unknown policy or source, or sources that do not know their rows.
    """
    refuse_steps(asked)
    if asked is not None and not isinstance(asked, str | Mapping):
        return asked
    wanted: Sequence[float]
    if isinstance(asked, Mapping):
        if len(asked) != 1 or next(iter(asked)) not in sources:
            raise ValueError(
                f"`steps_per_epoch` must name one of the sources {list(sources)} with a number of passes, got {dict(asked)}. Write "
                f"{{{sources[0]!r}: 1}}."
            )
        ((name, number),) = asked.items()
        wanted = [number * passes[list(sources).index(name)]]
    elif asked in ("longest", "shortest"):
        wanted = passes
    else:
        wanted = [sum(rows) / rows_a_step]
    if not all(math.isfinite(steps) for steps in wanted):
        raise ValueError(
            f"`steps_per_epoch` must be a number where a source does not know its rows, or is not drawn at first, got {asked!r} "
            f"for {dict(zip(sources, rows, strict=True))} rows. Give a number; or say how many rows a stream has: Source(..., rows=)."
        )
    steps = min(wanted) if asked == "shortest" else max(wanted)
    return max(1, math.floor(steps + 1e-9) if asked == "shortest" else math.ceil(steps - 1e-9))


def steps_at_rates(
    asked: Steps,
    sources: Sequence[str],
    rates: Sequence[float],
    *,
    rows: Sequence[float],
    batches: Sequence[float],
    every_source: bool,
) -> int:
    """Return the steps of an epoch in which sources are drawn at these rates.

    Args:
        asked: The `steps_per_epoch` of the user. Default: "longest" where a step holds a batch of every source, else
            "proportional".
        sources: Names of the sources.
        rates: The share of each source.
        rows: Rows of each source; NaN where they are not known.
        batches: Batches of a pass over each source; NaN where they are not known.
        every_source: Whether a step holds a batch of every source.

    Raises:
        ValueError: See `steps_of`.
    """
    if every_source:
        default: Steps = "longest"
        passes, rows_a_step = list(batches), sum(n / b for n, b in zip(rows, batches, strict=True))
    else:
        default = "proportional"
        passes = [b / rate if rate > 0 else math.inf for b, rate in zip(batches, rates, strict=True)]
        rows_a_step = sum(rows) / sum(batches)
    return steps_of(default if asked is None else asked, sources, passes, rows, rows_a_step)


def refuse_steps(asked: Steps) -> None:
    """Reject what is neither a number of at least 1, nor a policy, nor passes of a source.

    Raises:
        ValueError: It is none of these.
    """
    given: Any = asked
    if isinstance(given, Mapping):
        require_numbers("steps_per_epoch", given, "1 is a pass of the source.", above=0)
    elif not isinstance(given, bool) and isinstance(given, Integral):
        require_number("steps_per_epoch", given, "Leave it out for a pass.", at_least=1, whole=True)
    elif given is not None and not (isinstance(given, str) and given in get_args(Policy)):
        raise ValueError(
            f"`steps_per_epoch` must be a number, one of {list(get_args(Policy))}, or {{source: passes}}, got {asked!r}."
        )
