"""The matrix of scores: all tasks after each stage of training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from .._checks import require, require_number, require_numbers
from ._kept import Kept, known_mean


class ScoreMatrix(Kept):
    """A figure of each task, computed from the matrix R of scores, and its mean over tasks: R[i, j] is the score of task j after stage i.

    Scores are of the same kind for all tasks, and higher is better. All ranks may pass the same (synchronised) scores, or each rank
    the scores that only it knows.

    Args:
        tasks: Number of tasks.
        learned_at: The stage in which each task is learned. Default: task j in stage j.
        stages: Number of stages. Default: up to the stage in which the last task is learned.

    Raises:
        ValueError: There is no task, or a task is learned in no stage.
    """

    full_state_update = True  # a later score replaces an earlier one
    matrix: Tensor
    learned_at: Tensor

    def __init__(self, tasks: int, *, learned_at: Sequence[int] | None = None, stages: int | None = None) -> None:
        super().__init__()
        require_number("tasks", tasks, "Give the number of tasks.", at_least=1, whole=True)
        remedy = "Give the stage of every task, counted from 0."
        require_numbers("learned_at", learned_at, remedy, at_least=0, whole=True, optional=True)
        learned = list(range(tasks)) if learned_at is None else list(learned_at)
        require(len(learned) == tasks, "learned_at", f"{tasks} stages", learned_at, remedy)
        least, remedy = max(learned) + 1, "Each task is learned in one."
        require_number("stages", stages, remedy, at_least=least, whole=True, optional=True)
        count = least if stages is None else stages
        self.register_buffer("learned_at", torch.tensor(learned), persistent=False)
        self.keep("matrix", torch.full((count, tasks), torch.nan), known_mean)

    def update(self, stage: int, scores: Float[Tensor, " tasks"]) -> None:
        """Update with the scores after a stage.

        Args:
            stage: Its number, counted from 0.
            scores: The score of each task; NaN if it is unknown.
        """
        count = len(self.matrix)
        require_number("stage", stage, "Give `stages=` if there are more.", at_least=0, at_most=count - 1, whole=True)
        tasks = len(self.learned_at)
        require(len(scores) == tasks, "scores", f"{tasks} numbers", len(scores), "Write NaN for unknown ones.")
        row = torch.where(scores.isnan(), self.matrix[stage], scores.to(self.matrix))
        self.matrix = torch.cat([self.matrix[:stage], row[None], self.matrix[stage + 1 :]])

    def compute(self) -> Float[Tensor, ""]:
        """Return the mean of the figure over the tasks that have it; NaN if none has."""
        return self.terms().nanmean()

    def per_task(self) -> Float[Tensor, " tasks"]:
        """Return the figure of each task; NaN for a task without one. Call it on all ranks."""
        with self.together():
            return self.terms()

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the scores that another metric of this kind knows; scores that both know are averaged.

        Args:
            incoming_state: The other metric, or its state.
        """
        state: dict[str, Any] = incoming_state.metric_state if isinstance(incoming_state, Metric) else incoming_state
        self.matrix = known_mean(torch.stack([self.matrix, state["matrix"]]))
        self._computed, self._update_count = None, self._update_count + 1

    @abstractmethod
    def terms(self) -> Float[Tensor, " tasks"]:
        """Return the figure of each task, from the current state; NaN for a task without one."""

    def last(self) -> Int[Tensor, ""]:
        """Return the number of the last stage with a known score; -1 if there is none."""
        numbers = torch.arange(len(self.matrix), device=self.matrix.device)
        return torch.where(self.matrix.isnan().all(1), -1, numbers).max()

    def learned_before(self, stage: Int[Tensor, ""], terms: Float[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        """Set the figures of tasks that are learned in a stage or after it to NaN.

        Args:
            stage: Its number.
            terms: The figure of each task.
        """
        return torch.where(self.learned_at < stage, terms, torch.nan)
