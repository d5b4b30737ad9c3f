"""The seeds of runs that are compared."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable
from typing import Any

LARGEST = 2**32 - 1
"""The largest seed that NumPy, and so `seed_everything`, takes."""


def refuse_seeds(seeds: Any, *, name: str = "seeds") -> tuple[int, ...]:
    """Return seeds as a tuple of different whole numbers.

    Args:
        seeds: The seeds.
        name: The argument that holds them, for error messages.

    Raises:
        ValueError: There is none, one comes twice, or one is no whole number that `seed_everything` takes.

    Example:
        >>> refuse_seeds(range(3))
        (0, 1, 2)
    """
    if isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable):
        remedy = f" {name}=range({seeds}) are the first {seeds}." if isinstance(seeds, int) and seeds > 0 else ""
        raise ValueError(f"`{name}` must be several whole numbers, e.g. range(5), got {seeds!r}.{remedy}")
    chosen = tuple(_seed(seed, name) for seed in seeds)
    if not chosen:
        raise ValueError(f"`{name}` must hold at least one seed, got none.")
    if twice := [seed for seed, count in Counter(chosen).items() if count > 1]:
        raise ValueError(
            f"`{name}` must be different, got {twice} more than once: a run that is repeated is no further evidence. Leave them "
            "out, or give others."
        )
    return chosen


def _seed(seed: Any, name: str) -> int:
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number <= LARGEST:
        raise ValueError(
            f"`{name}` must be whole numbers from 0 to {LARGEST} (2**32 - 1, the largest that NumPy takes), got {seed!r}. "
            "Give smaller ones."
        )
    return number
