"""The lowest and the highest label and prediction of each task, from which it is known whether a metric is defined."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .._distributed import max_over_ranks
from ..heads import Head

_CLASSES = ("multiclass", "tagging")
KINDS = (*_CLASSES, "binary", "multilabel", "regression")
"""The kinds of heads whose labels have columns: outputs, labels, or classes (one against the rest)."""


class Extremes:
    """Keeps the extremes of the labels, and of predicted numbers, in each column of some tasks.

    Args:
        heads: {task number: its head}.
        dtype: The type in which they are kept.
    """

    def __init__(self, heads: Mapping[int, Head], dtype: torch.dtype) -> None:
        self._heads, self._dtype = dict(heads), dtype
        self._held: dict[int, Tensor] = {}

    def update(self, task: int, prediction: Tensor, target: Tensor) -> None:
        """Add labels and predictions; of tasks that are not kept, nothing."""
        if task in self._heads and len(target):
            new = self._of(self._heads[task], prediction, target).to(self._dtype)
            self._held[task] = torch.maximum(self._held[task], new) if task in self._held else new

    def take(self, device: torch.device) -> dict[int, Tensor]:
        """Return [4, columns] for each task, and forget them: the lowest and highest label and prediction over all ranks."""
        sizes = [4 * head.outputs for head in self._heads.values()]
        none = [torch.full((size,), -torch.inf, dtype=self._dtype, device=device) for size in sizes]
        flat = [self._held.get(task, empty) for task, empty in zip(self._heads, none, strict=True)]
        self._held = {}
        if not flat:
            return {}
        parts = torch.split(max_over_ranks(torch.cat(flat)).cpu(), sizes)
        signs = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]], dtype=self._dtype)
        return {task: part.view(4, -1) * signs for task, part in zip(self._heads, parts, strict=True)}

    def forget(self) -> None:
        """Discard what was added."""
        self._held = {}

    def _of(self, head: Head, prediction: Tensor, target: Tensor) -> Tensor:
        """Return minus the lowest and the highest label of each column, and likewise of the predictions; flat."""
        if head.kind in _CLASSES:
            there = torch.zeros(head.outputs, dtype=self._dtype, device=target.device).index_fill(0, target, 1.0)
            return torch.cat([-there * (there.sum() == 1), there, there, there])
        columns = target.reshape(len(target), -1).to(self._dtype)
        missing = columns < 0 if head.kind == "multilabel" else columns.isnan()
        predicted = prediction.reshape(len(target), -1).to(self._dtype)
        low, high = columns.masked_fill(missing, torch.inf).amin(0), columns.masked_fill(missing, -torch.inf).amax(0)
        return torch.cat([-low, high, -predicted.amin(0), predicted.amax(0)])
