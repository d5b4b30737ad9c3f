"""The gain of a metric over its baseline, which a baseline near zero does not rule."""

from __future__ import annotations

import math
from collections.abc import Sequence

NEAR_ZERO = 0.1
"""Below this share of the best value, a baseline is near zero."""
NEGLIGIBLE = 0.05
"""Below this share of the largest value, a baseline of a metric without a best value is near zero."""


def near_zero(values: Sequence[float], baselines: Sequence[float], best: float | None = None) -> bool:
    """Return whether a baseline is so near zero that a gain in percent of it says nothing.

    A metric with a best value, such as R² or accuracy, is near zero below a tenth of that, and where its baselines have both
    signs. Any other, such as an error, is near zero below a twentieth of the largest of all its values.

    Args:
        values: A metric, for each seed.
        baselines: The same metric of the baseline.
        best: The highest value that the metric can have, where it has one; higher is better then.

    Example:
        >>> near_zero([0.05], [0.001], best=1.0), near_zero([0.55], [0.50], best=1.0), near_zero([1.8], [2.0])
        (True, False, False)
    """
    least = min(map(abs, baselines))
    if best is not None:
        return least < NEAR_ZERO * abs(best) or min(baselines) < 0 < max(baselines)
    return least <= NEGLIGIBLE * max(map(abs, [*values, *baselines]))


def relative_gains(
    values: Sequence[float], baselines: Sequence[float], sign: int, best: float | None = None
) -> list[float]:
    """Return the gain of each seed, in percent of its baseline; positive is better.

    100 s (N - B) / |B|, as in `delta_m`. Where a baseline is `near_zero`, all gains of the metric are in percent of something that is not: of
    the distance from the baseline to the best value, or else of the largest of all values.

    Args:
        values: A metric, for each seed; all numbers are finite.
        baselines: The same metric of the baseline.
        sign: 1 where higher is better, else -1.
        best: The highest value that the metric can have, where it has one; higher is better then.

    Example:
        >>> relative_gains([0.55], [0.50], 1, best=1.0)
        [10.000000000000009]
        >>> [round(gain, 2) for gain in relative_gains([0.05], [0.001], 1, best=1.0)]
        [4.9]
        >>> relative_gains([0.1], [0.0], 1)
        [100.0]
    """
    pairs = list(zip(values, baselines, strict=True))
    if not near_zero(values, baselines, best):
        return [100 * sign * (value - of) / abs(of) for value, of in pairs]
    if best is not None:
        return [100 * sign * (value - of) / max(abs(best - of), abs(best)) for value, of in pairs]
    largest = max(map(abs, [*values, *baselines])) or 1.0
    return [100 * sign * (value - of) / largest for value, of in pairs]


def all_finite(*values: Sequence[float]) -> bool:
    """Return whether all numbers are finite: a metric that is not defined has no gain."""
    return all(map(math.isfinite, (number for of in values for number in of)))
