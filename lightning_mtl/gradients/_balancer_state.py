"""The state of a balancer in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._distributed import of_first_rank
from ..balancers import Balancer, seed_of_run


def seed_balancer(balancer: Balancer) -> None:
    """Set the seed of a balancer to that of the run, the same on all ranks."""
    balancer.run_seed = of_first_rank(seed_of_run())


def balancer_state(balancer: Balancer, tasks: Sequence[str]) -> dict[str, Any]:
    """Return the seed of a balancer, and the order of the tasks in its state."""
    return {"tasks": list(tasks), "seed": balancer.run_seed}


def load_balancer_state(balancer: Balancer, state: Mapping[str, Any], tasks: Sequence[str]) -> None:
    """Resume with the seed of a checkpoint.

    Raises:
        ValueError: The checkpoint is of tasks in another order.
    """
    if state:
        refuse_other_order(tasks, state["tasks"])
        balancer.run_seed = state["seed"]


def refuse_other_order(names: Sequence[str], saved: Sequence[str]) -> None:
    """Check that tasks are in the order of a checkpoint, which is that of a balancer's state.

    Raises:
        ValueError: They are not.
    """
    if list(saved) != list(names):
        raise ValueError(
            f"`tasks` must be in the order of the checkpoint, in which the balancer keeps its state, got {list(names)} for "
            f"{list(saved)}. Give them in that order."
        )
