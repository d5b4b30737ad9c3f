"""Random numbers that depend only on a seed and the step."""

from __future__ import annotations

import hashlib
import os

import torch

from .._checks import require_number


def generator(seed: int | None, step: int) -> torch.Generator:
    """Return a generator on the CPU whose numbers are the same on every rank, and in a resumed run.

    Args:
        seed: Seed of the numbers. Default: the seed of `lightning.seed_everything`, or 0.
        step: Number of the optimizer step.

    Example:
        >>> first, again = (torch.rand(2, generator=generator(1, step=7)) for _ in range(2))
        >>> bool((first == again).all())
        True
    """
    chosen = seed_of_run() if seed is None else seed
    digest = hashlib.blake2b(f"{chosen}/{step}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def require_seed(seed: int | None) -> None:
    """Check that a seed is a whole number, or None.

    Raises:
        TypeError: It is none.
        ValueError: It is a fraction.
    """
    require_number("seed", seed, "None takes that of the run.", whole=True, optional=True)


def seed_of_run() -> int:
    """Return the seed of `lightning.seed_everything`, or 0."""
    return int(os.environ.get("PL_GLOBAL_SEED") or 0)
