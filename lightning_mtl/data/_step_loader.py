"""A loader that reads a batch for each planned step, and counts the batches that it delivered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from .._lightning import WorkersOfLoader


class StepLoader(WorkersOfLoader, ABC):
    """Iterates over the batches of planned steps, read by one pool of workers; Lightning leaves it as it is.

    Its workers start at the first step, so that it is not too late for what Lightning sets after the loader was made (the epoch,
    the state of a checkpoint).

    Args:
        dataset: Reads the batch of a plan: `dataset[plan]`.
        plans: The plans of a pass, in their order.
        num_workers: Processes that read ahead.
        pin_memory: Whether batches are put into pinned memory.
        collate: What a worker does to a batch before it sends it. Default: arrays become tensors.
    """

    batches_done: Callable[[], int] | None = None
    """Returns how many training batches are over, where a Trainer counts them: what breaks off a step loses no batch."""
    _done_before: int | None = None

    def __init__(
        self,
        dataset: Dataset[Any],
        plans: Iterable[Any],
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        collate: Callable[[Any], Any] | None = None,
    ) -> None:
        self._loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=plans,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=collate,
            persistent_workers=num_workers > 0,
            generator=torch.Generator().manual_seed(0),  # else it would draw from the random state of training
        )

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            self._done_before = None if self.batches_done is None else self.batches_done()
            self.deliver()
            yield batch

    @property
    def is_in_step(self) -> bool:
        """Whether the step of the last delivered batch is not over."""
        return (
            self._done_before is not None and self.batches_done is not None and self._done_before == self.batches_done()
        )

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of steps of a pass."""

    @abstractmethod
    def deliver(self) -> None:
        """Count the batch that is delivered next."""
