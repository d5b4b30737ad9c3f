"""Drawdown: how far scores are below their best."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require, require_number
from ._kept import Kept, known_mean


class Drawdown(Kept):
    """The best score so far minus the latest one, for each task: a measure of forgetting when all tasks are trained together.

    It is Chaudhry's forgetting with each evaluation as a stage, except that the latest score can be the best one, so it is never
    negative. Higher scores are better. Noise alone also causes a drawdown: `smoothing` reduces it, and `DropAlarm` tells drops from
    noise. All ranks may pass the same (synchronised) scores, or each rank the scores that only it knows.

    Args:
        tasks: Number of tasks.
        smoothing: Weight of the past in a moving average of scores, from 0 (none) to below 1; it starts with the first score.

    Raises:
        ValueError: There is no task, or `smoothing` is out of its range; from `update`: the number of scores is wrong.

    Example:
        >>> import torch
        >>> metric = Drawdown(2)
        >>> for scores in ([0.5, 0.9], [0.6, 0.7]):
        ...     metric.update(torch.tensor(scores))
        >>> metric.compute()
        tensor([0.0000, 0.2000])
    """

    higher_is_better = False
    full_state_update = True
    best: Tensor
    latest: Tensor

    def __init__(self, tasks: int, *, smoothing: float = 0.0) -> None:
        super().__init__()
        require_number("tasks", tasks, "Give the number of tasks.", at_least=1, whole=True)
        require_number("smoothing", smoothing, "0 turns it off.", at_least=0, below=1)
        self.smoothing = smoothing
        self.keep("best", torch.full((tasks,), -torch.inf), "max")
        self.keep("latest", torch.full((tasks,), torch.nan), known_mean)

    def update(self, scores: Float[Tensor, " tasks"]) -> None:
        """Update with the scores of an evaluation.

        Args:
            scores: The score of each task; NaN if it is unknown.
        """
        tasks = len(self.latest)
        require(len(scores) == tasks, "scores", f"{tasks} numbers", len(scores), "Write NaN for unknown ones.")
        new = scores.to(self.latest)
        past = torch.where(self.latest.isnan(), new, self.latest)
        smoothed = self.smoothing * past + (1 - self.smoothing) * new
        self.latest = torch.where(new.isnan(), self.latest, smoothed)
        self.best = self.best.fmax(self.latest)

    def compute(self) -> Float[Tensor, " tasks"]:
        """Return each task's drawdown; NaN for a task without a score."""
        return self.best - self.latest
