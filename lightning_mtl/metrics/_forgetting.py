"""Forgetting: how much scores fall from their best."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ._score_matrix import ScoreMatrix


class Forgetting(ScoreMatrix):
    """Forgetting: how far each task's score has fallen from its highest value after an earlier stage.

    After the last stage k it is the mean of max_{l < k} R[l, j] - R[k, j] over the tasks j learned before k, as in Chaudhry et al.,
    "Riemannian walk for incremental learning", ECCV 2018, section 3.2. It is negative if tasks became better. There are other
    definitions: Mammoth takes the maximum over all stages, including the last one, so that no term is negative. Avalanche takes the
    score after the stage in which the task was learned instead of the maximum, which is -1 times the backward transfer. For the
    matrix below these are 0.075 and 0.035.

    Args:
        tasks: Number of tasks.
        learned_at: The stage in which each task is learned. Default: task j in stage j.
        stages: Number of stages. Default: up to the stage in which the last task is learned.

    Raises:
        ValueError: There is no task, or a task is learned in no stage.

    Example:
        >>> import torch
        >>> metric = Forgetting(3)
        >>> for stage, scores in enumerate([[0.9, 0.1, 0.1], [0.95, 0.85, 0.2], [0.8, 0.88, 0.9]]):
        ...     metric.update(stage, torch.tensor(scores))
        >>> metric.compute(), metric.per_task()
        (tensor(0.0600), tensor([ 0.1500, -0.0300,     nan]))
    """

    higher_is_better = False

    def terms(self) -> Float[Tensor, " tasks"]:
        """Return the loss of each task since its best stage."""
        last = self.last()
        stages = torch.arange(len(self.matrix), device=last.device)
        earlier = torch.where((stages < last)[:, None] & ~self.matrix.isnan(), self.matrix, -torch.inf)
        best = earlier.amax(0)
        return self.learned_before(last, torch.where(best.isfinite(), best - self.matrix[last], torch.nan))
