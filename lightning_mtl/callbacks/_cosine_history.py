"""Cosines of pairs of tasks, as training goes on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_MOST = 200
"""So many entries are kept at most."""


class CosineHistory:
    """Holds the cosines since they were shown, and the means of each time before.

    Of too many entries every second one goes, and from then on only every second one comes in.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[int, Tensor]] = []
        """Steps, and mean cosines [tasks, tasks]."""
        self._recent: list[Tensor] = []
        self._step = self._shown = 0
        self._stride = 1

    def add(self, step: int, cosines: Tensor) -> None:
        """Take in looks.

        Args:
            step: That of the last of them.
            cosines: Those of all pairs, [looks, tasks, tasks].
        """
        self._step = step
        self._recent.append(cosines)

    def show(self) -> Tensor | None:
        """Give the looks since the last time, [looks, tasks, tasks], and note their mean; None if there are none."""
        if not self._recent:
            return None
        recent, self._recent = torch.cat(self._recent), []
        self._shown += 1
        if self._shown % self._stride == 0:
            self.entries.append((self._step, recent.nanmean(0)))
        if len(self.entries) > _MOST:
            self.entries, self._stride = self.entries[1::2], 2 * self._stride
        return recent

    def state_dict(self) -> dict[str, Any]:
        """Give all of it."""
        recent = [torch.cat(self._recent)] if self._recent else []
        return {"entries": list(self.entries), "recent": recent, "at": [self._step, self._shown, self._stride]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what was seen before.

        Args:
            state: What `state_dict` gave.
        """
        self.entries = [(step, cosines.cpu()) for step, cosines in state["entries"]]
        self._recent = [cosines.cpu() for cosines in state["recent"]]
        self._step, self._shown, self._stride = state["at"]
