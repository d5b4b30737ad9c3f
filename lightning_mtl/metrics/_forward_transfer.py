"""Forward transfer: the effect of earlier stages on later tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require, require_numbers
from ._kept import known_mean
from ._score_matrix import ScoreMatrix


class ForwardTransfer(ScoreMatrix):
    """Forward transfer: how much earlier stages improved each task before it was learned.

    It is the mean of R[j - 1, j] - b_j over the tasks j learned after the first stage, where b_j is the score of the untrained network.
    The factor is 1 / (T - 1), as in Lopez-Paz and Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017,
    equation 4; their code divides by T instead.

    Args:
        tasks: Number of tasks.
        initial: The score of each task before training; NaN if it is unknown.
        learned_at: The stage in which each task is learned. Default: task j in stage j.
        stages: Number of stages. Default: up to the stage in which the last task is learned.

    Raises:
        ValueError: There is no task, a task is learned in no stage, or the number of initial scores is wrong.

    Example:
        >>> import torch
        >>> metric = ForwardTransfer(3, initial=[0.1, 0.1, 0.1])
        >>> for stage, scores in enumerate([[0.9, 0.1, 0.1], [0.95, 0.85, 0.2], [0.8, 0.88, 0.9]]):
        ...     metric.update(stage, torch.tensor(scores))
        >>> metric.compute(), metric.per_task()
        (tensor(0.0500), tensor([   nan, 0.0000, 0.1000]))
    """

    higher_is_better = True
    initial: Tensor

    def __init__(
        self,
        tasks: int,
        *,
        initial: Sequence[float],
        learned_at: Sequence[int] | None = None,
        stages: int | None = None,
    ) -> None:
        super().__init__(tasks, learned_at=learned_at, stages=stages)
        require_numbers("initial", initial, "NaN is for unknown ones.", finite=False)
        require(len(initial) == tasks, "initial", f"{tasks} scores", initial, "NaN is for unknown ones.")
        self.keep("initial", torch.tensor(initial, dtype=torch.get_default_dtype()), known_mean)

    def terms(self) -> Float[Tensor, " tasks"]:
        """Return the gain of each task before it was learned."""
        before = self.matrix.gather(0, (self.learned_at - 1).clamp(min=0)[None])[0]
        return torch.where(self.learned_at > 0, before - self.initial, torch.nan)
