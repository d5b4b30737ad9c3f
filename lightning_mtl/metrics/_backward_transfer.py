"""What later stages did to earlier tasks."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ._score_matrix import ScoreMatrix


class BackwardTransfer(ScoreMatrix):
    """Backward transfer: what later stages changed in each task since it was learned.

    With the last of T stages it is 1 / (T - 1) sum_{j < T} R[T, j] - R[j, j]: Lopez-Paz and Ranzato, "Gradient episodic memory for continual learning",
    NeurIPS 2017, equation 3; the mean over the tasks learned before the last stage. The authors' code divides by T instead, which
    gives -0.0233 on the matrix below. It is negative where tasks are forgotten.

    Args:
        tasks: How many there are.
        learned_at: The stage in which each task is learned. Default: task j in stage j.
        stages: How many there are. Default: as many as the tasks need to be learned.

    Raises:
        ValueError: No task, or a task that is learned in no stage.

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
        """Give what each task has gained since it was learned."""
        last = self.last()
        learned = self.matrix.gather(0, self.learned_at[None])[0]
        return self.learned_before(last, self.matrix[last] - learned)
