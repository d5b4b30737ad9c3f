"""The state of every generator that training may draw from, as plain data."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the state of Python's, NumPy's and PyTorch's generators, of all visible GPUs too."""
    name, keys, *rest = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, [int(key) for key in keys], *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the generators to a state that `random_state` returned; those of GPUs where as many are visible.

    Args:
        state: The state.
    """
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    saved, today = len(state["cuda"]), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if saved != today:
        warnings.warn(
            f"Random numbers on GPUs, e.g. of dropout, cannot go on as in the unbroken run: the checkpoint has the generators of {saved} visible "
            f"GPUs, and {today} are visible. Make {saved} visible (CUDA_VISIBLE_DEVICES) for equal ones.",
            stacklevel=2,
        )
    elif saved:
        torch.cuda.set_rng_state_all([gpu.cpu() for gpu in state["cuda"]])


def resume_random_state(states: Sequence[dict[str, Any]], rank: int, ranks: int) -> None:
    """Restore the generators of a rank from those that a checkpoint has of all ranks.

    Args:
        states: The states of all ranks.
        rank: The number of this rank.
        ranks: How many there are today.
    """
    if rank == 0 and len(states) != ranks:
        warnings.warn(
            f"Random numbers of training, e.g. of dropout, cannot go on as in the unbroken run: the checkpoint has the generators of "
            f"{len(states)} processes, and there are {ranks}. Resume on {len(states)} for equal ones.",
            stacklevel=2,
        )
    if rank < len(states):
        set_random_state(states[rank])


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Restore the generators afterwards."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
