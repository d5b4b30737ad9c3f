"""What a hierarchy requires of balancing and clipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..balancers import LossBalancer
from ..gradients import Measuring
from ..task import Task


def refuse_balancing(balancer: Any, measuring: Measuring, tasks: Sequence[Task], detached: bool) -> None:
    """Check that the tasks' gradients are separate where they are weighed.

    Raises:
        ValueError: They are not.
    """
    in_rows = measuring.scope != "representation" and measuring.refresh_every == 1
    if (
        balancer is None
        or isinstance(balancer, LossBalancer)
        or (in_rows and not (measuring.sketch or measuring.gradient_memory))
    ):
        return
    if measuring.weight_heads:
        raise ValueError(
            "`weight_heads` must go with scope='parameters' in a hierarchy, without `sketch`, `gradient_memory` and `refresh_every`, got "
            f"{measuring}. Leave it out."
        )
    if not detached and any(task.feeds_from for task in tasks):
        raise ValueError(
            "`detach_feeds` must be true where gradients are weighed at the levels, since higher tasks reach lower ones through what these "
            "feed, got False. Set it, or use scope='parameters'."
        )


def refuse_two_clippings(gradient_clip_val: float | None, clip_by_depth: float) -> None:
    """Check that the Trainer does not clip too.

    Raises:
        ValueError: It does.
    """
    if gradient_clip_val is not None:
        raise ValueError(
            f"`gradient_clip_val` of the Trainer must be left out with `clip_by_depth`, got {gradient_clip_val} and "
            f"{clip_by_depth}. Leave one of them out."
        )
