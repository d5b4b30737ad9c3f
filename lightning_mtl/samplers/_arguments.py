"""What the numbers that make a sampler must be."""

from __future__ import annotations

from .._checks import require_number


def require_ranks(rank: int, ranks: int) -> None:
    """Check the number of ranks, and the number of this one.

    Raises:
        TypeError: One is not a number.
        ValueError: There are none, or it is none of them.
    """
    require_number("num_replicas", ranks, "1 is a single process.", at_least=1, whole=True)
    require_number("rank", rank, "Ranks count from 0.", at_least=0, at_most=ranks - 1, whole=True)


def require_plan(batch: int, epochs: int | None, limit: int | float, seed: int) -> None:
    """Check what a plan of training depends on.

    Raises:
        TypeError: One is not a number.
        ValueError: One is out of its bounds.
    """
    require_number("batch", batch, "It is the rows of a global batch.", at_least=1, whole=True)
    require_number("epochs", epochs, "None where there is no end in epochs.", at_least=1, whole=True, optional=True)
    require_number("limit", limit, "1.0 limits nothing.", at_least=0)
    require_number("seed", seed, "0 is the default.", whole=True)
