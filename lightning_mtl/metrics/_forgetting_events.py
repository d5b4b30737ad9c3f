"""Forgetting events: examples that are learned and forgotten again."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from .._checks import require, require_number
from ._kept import Kept

MAX_BATCH = 2**24  # rows in a step
NEVER = 2**62


class ForgettingEvents(Kept):
    """Count, for each example, how often it was right at one presentation and wrong at the next.

    Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR 2019, definition 2. Examples
    without an event are easy and teach little. Examples with many events, or never learned, are hard, rare or wrongly labelled.

    Different ranks may read an example in turn, so they exchange results. The latest presentation of an example is stored as one
    number, (step, place in the batch, right or wrong); the largest number over the ranks is the latest. Call `settle` on all ranks at
    the end of each epoch: it exchanges these numbers and adds up the events that the ranks have counted. Within an epoch, a rank
    compares with the last exchange and with its own presentations since. A single process does not need `settle`. A checkpoint holds
    the exchanged counts and those of its own rank, so with several ranks write it after `settle`.

    `update` never waits for the device. An example takes 28 bytes.

    Args:
        examples: Number of examples.

    Raises:
        ValueError: There is no example; from `update`: the numbers of indices and flags differ, or the flags are not boolean.

    Example:
        >>> import torch
        >>> metric, all_three = ForgettingEvents(3), torch.arange(3)
        >>> for right in ([True, False, True], [False, False, True], [True, False, True]):
        ...     metric.update(all_three, torch.tensor(right))
        >>> metric.compute(), metric.unforgettable(), metric.never_learned()
        (tensor([1, 0, 0]), tensor([False, False,  True]), tensor([False,  True, False]))
    """

    higher_is_better = False
    full_state_update = True
    latest: Tensor
    settled: Tensor
    fresh: Tensor
    first: Tensor
    step: Tensor

    def __init__(self, examples: int) -> None:
        super().__init__()
        require_number("examples", examples, "Give the number of rows.", at_least=1, whole=True)
        self.keep("latest", torch.full((examples,), -1), "max")
        self.keep("settled", torch.zeros(examples, dtype=torch.long), "max")
        self.keep("fresh", torch.zeros(examples, dtype=torch.int32), "sum")
        self.keep("first", torch.full((examples,), NEVER), "min")
        self.keep("step", torch.tensor(0), "max")

    def update(self, indices: Int[Tensor, " batch"], correct: Bool[Tensor, " batch"]) -> None:
        """Update with the examples of one step.

        Args:
            indices: Their numbers, from 0; an example may occur more than once.
            correct: Whether each prediction was right, before the step changed the network.
        """
        remedy = "Give each example its number, and whether it was right."
        require(len(correct) == len(indices), "correct", f"{len(indices)} flags", len(correct), remedy)
        require(
            correct.dtype == torch.bool, "correct", "of type torch.bool", correct.dtype, "Compare answers with labels."
        )
        self.step = self.step + 1
        order = indices.argsort(stable=True)  # groups the presentations of each example
        rows, right = indices[order], correct[order]
        was_right = (self.latest[rows] >= 0) & (self.latest[rows] % 2 == 1)
        same_example = rows[1:] == rows[:-1]
        was_right = torch.cat([was_right[:1], torch.where(same_example, right[:-1], was_right[1:])])
        self.fresh = self.fresh.index_add(0, rows, (was_right & ~right).to(self.fresh))
        stamps = 2 * (self.step * MAX_BATCH + order) + right
        self.latest = self.latest.scatter_reduce(0, rows, stamps, "amax")
        self.first = self.first.scatter_reduce(0, rows, torch.where(right, self.step, NEVER), "amin")

    def compute(self) -> Int[Tensor, " examples"]:
        """Return the number of events of each example."""
        return self.settled + self.fresh

    def settle(self) -> None:
        """Synchronise the state over the ranks. Call it on all ranks, at the end of an epoch."""
        with self.together():
            latest, first, step, settled = self.latest, self.first, self.step, self.settled + self.fresh
        self.latest, self.first, self.step, self.settled = latest, first, step, settled
        self.fresh = torch.zeros_like(self.fresh)

    def unforgettable(self) -> Bool[Tensor, " examples"]:
        """Return a mask of the examples that were learned and never forgotten. Call it on all ranks."""
        with self.together():
            return (self.first < NEVER) & (self.settled + self.fresh == 0)

    def never_learned(self) -> Bool[Tensor, " examples"]:
        """Return a mask of the examples that were presented and never right. Call it on all ranks."""
        with self.together():
            return (self.latest >= 0) & (self.first == NEVER)

    def first_learned(self) -> Int[Tensor, " examples"]:
        """Return the step, counted from 1, in which each example was first right; -1 for never. Call it on all ranks."""
        with self.together():
            return torch.where(self.first == NEVER, -1, self.first)
