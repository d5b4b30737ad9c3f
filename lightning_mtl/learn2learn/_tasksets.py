"""Task sets of learn2learn as episodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .._checks import require_number


@runtime_checkable
class Taskset(Protocol):
    """The method of a task set of learn2learn that is used."""

    def sample(self) -> Any:
        """Draw the examples and the labels of a task."""
        ...


def episodes_of_taskset(
    taskset: Taskset,
    *,
    shots: int,
    source: str = "tasks",
    columns: tuple[str, str] = ("x", "y"),
    episodes: int = 4,
    steps: int = 100,
) -> Iterable[Any]:
    """Return a `train_dataloader` of tasks that a `learn2learn.data.Taskset` draws.

    The support of a task holds the first `shots` examples of each class, and the query the other ones, as in `partition_task`. Task
    sets draw with Python's `random`: on several processes, seed it differently, or all processes draw the same.

    Args:
        taskset: Its `sample()` returns examples and labels of one task.
        shots: Number of examples of each class in the support.
        source: Name of the source in a batch.
        columns: Names of the columns of examples and labels.
        episodes: Number of tasks in a step.
        steps: Number of steps in an epoch.

    Returns:
        Batches {source: [{"support": {column: tensor}, "query": ...}, ...]}, different ones in each epoch.

    Raises:
        ValueError: A number is below 1; while drawing, a class has no examples left for the query.

    Example:
        >>> class Drawn:
        ...     def sample(self):
        ...         return torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([1, 0, 0, 1])
        >>> (batch,) = episodes_of_taskset(Drawn(), shots=1, episodes=1, steps=1)
        >>> batch["tasks"][0]["support"]
        {'x': tensor([[2.],
            [1.]]), 'y': tensor([0, 1])}
    """
    for name, value in (("shots", shots), ("episodes", episodes), ("steps", steps)):
        require_number(name, value, "Raise it.", at_least=1, whole=True)
    return _EpisodeLoader(taskset, shots, source, columns, episodes, steps)


class _EpisodeLoader:
    def __init__(
        self, taskset: Taskset, shots: int, source: str, columns: tuple[str, str], episodes: int, steps: int
    ) -> None:
        self.taskset, self.shots, self.source, self.columns = taskset, shots, source, columns
        self.episodes, self.steps = episodes, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.steps):
            yield {self.source: [self._episode(*self.taskset.sample()) for _ in range(self.episodes)]}

    def _episode(self, examples: Tensor, labels: Tensor) -> dict[str, dict[str, Tensor]]:
        rows = [(labels == label).nonzero().squeeze(1) for label in torch.unique(labels)]
        fewest = min(map(len, rows))
        if fewest <= self.shots:
            raise ValueError(
                f"`shots` must leave examples of each class for the query, got {self.shots} of {fewest}. Take fewer, or draw more."
            )
        parts = {"support": [of[: self.shots] for of in rows], "query": [of[self.shots :] for of in rows]}
        selected = {name: torch.cat(of) for name, of in parts.items()}
        return {name: dict(zip(self.columns, (examples[of], labels[of]), strict=True)) for name, of in selected.items()}
