"""How far scores are below their best."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require
from ._kept import Kept, known_mean


class Drawdown(Kept):
    """The best score so far less the latest one, for each task: what is forgotten where all tasks are trained together.

    It is what Chaudhry's forgetting becomes where each evaluation is a stage, except that the latest counts among the best, so that it is never
    negative. Scores are higher-is-better. A score that wavers has a drawdown without being forgotten: `smoothing`
    helps, and `DropAlarm` decides. Ranks may all give the same (synchronised) scores, or each those that it alone knows.

    Args:
        tasks: How many there are.
        smoothing: Weight of the past in a running average of scores, from 0 (none) to below 1; it begins with the first score.

    Raises:
        ValueError: No task, or a smoothing out of its range; from `update`: another number of scores.

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
        require(tasks > 0, "tasks", "at least 1", tasks, "Give the number of tasks.")
        require(0 <= smoothing < 1, "smoothing", "from 0 to below 1", smoothing, "0 turns it off.")
        self.smoothing = smoothing
        self.keep("best", torch.full((tasks,), -torch.inf), "max")
        self.keep("latest", torch.full((tasks,), torch.nan), known_mean)

    def update(self, scores: Float[Tensor, " tasks"]) -> None:
        """Take in an evaluation.

        Args:
            scores: Of each task; NaN where it is not known.
        """
        tasks = len(self.latest)
        require(len(scores) == tasks, "scores", f"{tasks} numbers", len(scores), "Write NaN for unknown ones.")
        new = scores.to(self.latest)
        past = torch.where(self.latest.isnan(), new, self.latest)
        smoothed = self.smoothing * past + (1 - self.smoothing) * new
        self.latest = torch.where(new.isnan(), self.latest, smoothed)
        self.best = self.best.fmax(self.latest)

    def compute(self) -> Float[Tensor, " tasks"]:
        """Give each task's drawdown; NaN for one without a score."""
        return self.best - self.latest
