"""Backward transfer: the effect of later stages on earlier tasks."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ._score_matrix import ScoreMatrix


class BackwardTransfer(ScoreMatrix):
    """Backward transfer: the change of each task's score since the stage in which it was learned.

    After the last of T stages it is 1 / (T - 1) sum_{j < T} R[T, j] - R[j, j], the mean over the tasks learned before the last stage:
    Lopez-Paz and Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017, equation 3. The authors' code divides
    by T instead, which gives -0.0233 for the matrix below. It is negative if tasks are forgotten.

    Args:
        tasks: Number of tasks.
        learned_at: The stage in which each task is learned. Default: task j in stage j.
        stages: Number of stages. Default: up to the stage in which the last task is learned.

    Raises:
        ValueError: There is no task, or a task is learned in no stage.

    Example:
        >>> import torch
        >>> metric = BackwardTransfer(3)
        >>> for stage, scores in enumerate([[0.9, 0.1, 0.1], [0.95, 0.85, 0.2], [0.8, 0.88, 0.9]]):
        ...     metric.update(stage, torch.tensor(scores))
        >>> metric.compute(), metric.per_task()
        (tensor(-0.0350), tensor([-0.1000,  0.0300,     nan]))
    """

    higher_is_better = True

    def terms(self) -> Float[Tensor, " tasks"]:
        """Return the gain of each task since it was learned."""
        last = self.last()
        learned = self.matrix.gather(0, self.learned_at[None])[0]
        return self.learned_before(last, self.matrix[last] - learned)
