"""The base class of metrics of a whole run."""

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
    """A metric of a whole run: its state is saved in checkpoints, and loaded onto the device of the metric."""

    is_differentiable = False

    def keep(self, name: str, start: Tensor, reduction: str | Callable[[Tensor], Tensor]) -> None:
        """Add a state that is saved in checkpoints.

        Args:
            name: Name of the attribute.
            start: Its initial value.
            reduction: Combines the states of all ranks into one.
        """
        self.add_state(name, start, dist_reduce_fx=reduction, persistent=True)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Synchronise the states over all ranks for a while, as within `compute`."""
        unsynced = self.sync_on_compute and not self._is_synced
        with self.sync_context(self.dist_sync_fn, should_sync=unsynced, should_unsync=unsynced):
            yield

    def set_dtype(self, dst_type: str | torch.dtype) -> Kept:
        """Do nothing: half precision is too coarse for the counts and scores of a run."""
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        names = [name for name in self._defaults if prefix + name in state_dict]
        super()._load_from_state_dict(state_dict, prefix, *others)
        for name in names:  # torchmetrics takes the loaded tensors themselves, on whatever device they are
            setattr(self, name, getattr(self, name).detach().to(self.device, copy=True))
        self._computed = None
        self._update_count = max(self._update_count, len(names))


def known_mean(stacked: Float[Tensor, "ranks *shape"]) -> Float[Tensor, "*shape"]:
    """Average over the ranks that know a value, so that it counts once, whether one rank knows it or all.

    Args:
        stacked: The values of all ranks; NaN if a rank does not know the value.
    """
    return stacked.nanmean(0)
