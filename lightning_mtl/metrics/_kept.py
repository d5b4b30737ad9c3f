"""What metrics of a whole run have in common."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric


class Kept(Metric, ABC):
    """A metric of a whole run: its state is part of checkpoints, and is loaded onto the device that the metric is on."""

    is_differentiable = False

    def keep(self, name: str, start: Tensor, reduction: str | Callable[[Tensor], Tensor]) -> None:
        """Add a state that checkpoints hold.

        Args:
            name: The attribute.
            start: Its value at first.
            reduction: What makes one state of those of all ranks.
        """
        self.add_state(name, start, dist_reduce_fx=reduction, persistent=True)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let the states be those of all ranks for a while, as they are within `compute`."""
        alone = self.sync_on_compute and not self._is_synced
        with self.sync_context(self.dist_sync_fn, should_sync=alone, should_unsync=alone):
            yield

    def set_dtype(self, dst_type: str | torch.dtype) -> Kept:
        """Stay as it is: a run's counts and scores would not survive half precision."""
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        names = [name for name in self._defaults if prefix + name in state_dict]
        super()._load_from_state_dict(state_dict, prefix, *others)
        for name in names:  # torchmetrics takes the very tensors, wherever they are
            setattr(self, name, getattr(self, name).detach().to(self.device, copy=True))
        self._computed = None
        self._update_count = max(self._update_count, len(names))


def known_mean(stacked: Float[Tensor, "ranks *shape"]) -> Float[Tensor, "*shape"]:
    """Average over the ranks that know a value, so that it counts once, whether one of them knows it or all.

    Args:
        stacked: The values of all ranks, NaN where one is not known.
    """
    return stacked.nanmean(0)
