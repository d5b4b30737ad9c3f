"""The weights of trials."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.quasirandom import SobolEngine

from .._checks import require_number


def draw_weights(names: Sequence[str], trials: int, *, seed: int = 0, spread: float = 10.0) -> list[dict[str, float]]:
    """Draw weights for each trial, which sum to the number of tasks: first equal ones, then a scrambled Sobol sequence.

    Before they are scaled to their sum, the logarithms of the weights are uniform between those of 1 / spread and spread, so that
    two weights differ by a factor of spread^2 at most. More trials continue the same sequence.

    Args:
        names: The names of the tasks.
        trials: The number of trials, at least two.
        seed: The seed of the sequence.
        spread: How many times greater or smaller than 1 a weight can be, before it is scaled.

    Raises:
        ValueError: There are fewer than two trials, or `spread` is not above 1.

    Example:
        >>> for weights in draw_weights(["mood", "age"], 3):
        ...     print({name: round(weight, 2) for name, weight in weights.items()})
        {'mood': 1.0, 'age': 1.0}
        {'mood': 0.74, 'age': 1.26}
        {'mood': 1.85, 'age': 0.15}
    """
    require_drawing(trials, seed, spread)
    sobol = SobolEngine(len(names), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    drawn = spread ** (2 * sobol.draw(trials - 1, dtype=torch.float64) - 1)
    scaled = len(names) * drawn / drawn.sum(1, keepdim=True)
    return [dict.fromkeys(names, 1.0), *(dict(zip(names, weights, strict=True)) for weights in scaled.tolist())]


def require_drawing(trials: int, seed: int, spread: float) -> None:
    """Check the numbers by which weights are drawn.

    Raises:
        TypeError: One is not a number.
        ValueError: One is out of its bounds.
    """
    remedy = "Trial 0 has equal weights; the others have drawn ones."
    require_number("trials", trials, remedy, at_least=2, whole=True)
    require_number("seed", seed, "0 is the default.", at_least=0, whole=True)
    require_number("spread", spread, "10 makes weights between 1/10 and 10.", above=1)
