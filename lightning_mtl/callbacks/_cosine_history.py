"""The cosines of pairs of tasks during training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_MOST_ENTRIES = 200


class CosineHistory:
    """Holds the cosines since they were last logged, and the mean of each time before.

    When there are too many entries, every second one is removed, and from then on only every second one is added.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[int, Tensor]] = []
        """Steps, and mean cosines [tasks, tasks]."""
        self._recent: list[Tensor] = []
        self._step = self._taken = 0
        self._stride = 1

    def add(self, step: int, cosines: Tensor) -> None:
        """Add measurements.

        Args:
            step: The step of the last of them.
            cosines: The cosines of all pairs, [measurements, tasks, tasks].
        """
        self._step = step
        self._recent.append(cosines)

    def take_recent(self) -> Tensor | None:
        """Return the cosines since the last call, [measurements, tasks, tasks], and keep their mean; None if there are none."""
        if not self._recent:
            return None
        recent, self._recent = torch.cat(self._recent), []
        self._taken += 1
        if self._taken % self._stride == 0:
            self.entries.append((self._step, recent.nanmean(0)))
        if len(self.entries) > _MOST_ENTRIES:
            self.entries, self._stride = self.entries[1::2], 2 * self._stride
        return recent

    def state_dict(self) -> dict[str, Any]:
        """Return all cosines."""
        recent = [torch.cat(self._recent)] if self._recent else []
        return {"entries": list(self.entries), "recent": recent, "at": [self._step, self._taken, self._stride]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore all cosines.

        Args:
            state: What `state_dict` returned.
        """
        self.entries = [(step, cosines.cpu()) for step, cosines in state["entries"]]
        self._recent = [cosines.cpu() for cosines in state["recent"]]
        self._step, self._taken, self._stride = state["at"]
