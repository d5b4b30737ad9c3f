"""The lowest scores on the way."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .._checks import require
from ._kept import Kept, known_mean


class WorstCase(Kept):
    """The lowest score of each task since training last went on to another task.

    Right after a switch earlier tasks often drop sharply and come back (the stability gap), which scores at the ends of stages do not show: De Lange et
    al., "Continual evaluation for lifelong learning: identifying the stability gap", ICLR 2023. Evaluate often, and call `switch` where
    training goes on to another task, at its start too. Scores are higher-is-better; ranks may all give the same (synchronised) scores, or each those that
    it alone knows.

    Args:
        tasks: How many there are.

    Raises:
        ValueError: No task; from `update`: another number of scores.

    Example:
        >>> import torch
        >>> metric = WorstCase(2)
        >>> metric.switch(0)
        >>> metric.update(torch.tensor([0.9, 0.1]))
        >>> metric.switch(1)
        >>> for scores in ([0.4, 0.5], [0.8, 0.9]):
        ...     metric.update(torch.tensor(scores))
        >>> metric.compute(), metric.min_accuracy(), metric.wc_accuracy()
        (tensor([0.4000, 0.5000]), tensor(0.4000), tensor(0.6500))
    """

    higher_is_better = True
    full_state_update = True
    lowest: Tensor
    lowest_since_learned: Tensor
    latest: Tensor
    learned: Tensor
    current: Tensor

    def __init__(self, tasks: int) -> None:
        super().__init__()
        require(tasks > 0, "tasks", "at least 1", tasks, "Give the number of tasks.")
        self.keep("lowest", torch.full((tasks,), torch.inf), "min")
        self.keep("lowest_since_learned", torch.full((tasks,), torch.inf), "min")
        self.keep("latest", torch.full((tasks,), torch.nan), known_mean)
        self.keep("learned", torch.zeros(tasks, dtype=torch.long), "max")
        self.keep("current", torch.tensor(-1), "max")

    def switch(self, current: int) -> None:
        """Go on to another task. To be called on all ranks.

        Args:
            current: Its number, counted from 0.
        """
        count = len(self.latest)
        require(0 <= current < count, "current", f"from 0 to {count - 1}", current, "Give `WorstCase` more tasks.")
        done = self._is(self.current)
        self.learned = self.learned | done
        self.lowest_since_learned = torch.where(done, torch.inf, self.lowest_since_learned)
        self.lowest = torch.full_like(self.lowest, torch.inf)
        self.current = torch.full_like(self.current, current)
        self._computed = None

    def update(self, scores: Float[Tensor, " tasks"]) -> None:
        """Take in an evaluation.

        Args:
            scores: Of each task; NaN where it is not known.
        """
        tasks = len(self.latest)
        require(len(scores) == tasks, "scores", f"{tasks} numbers", len(scores), "Write NaN for unknown ones.")
        new = scores.to(self.latest)
        self.latest = torch.where(new.isnan(), self.latest, new)
        self.lowest = self.lowest.fmin(new)
        self.lowest_since_learned = self.lowest_since_learned.fmin(new)

    def compute(self) -> Float[Tensor, " tasks"]:
        """Give the lowest score of each task since the last switch; NaN for one without a score."""
        return torch.where(self.lowest.isinf(), torch.nan, self.lowest)

    def min_accuracy(self) -> Float[Tensor, ""]:
        """Average, over the tasks learned before the current one, the lowest score that each had since it was learned: min-ACC (equation 3).

        NaN if there is none. To be called on all ranks.
        """
        with self.together():
            return self._min_accuracy()

    def wc_accuracy(self) -> Float[Tensor, ""]:
        """Weigh the current task's latest score, A / k + (1 - 1 / k) min-ACC, where it is the k-th: WC-ACC (equation 4).

        NaN before the first `switch`. To be called on all ranks.
        """
        with self.together():
            here = self._is(self.current)
            now = torch.where(here.any(), torch.where(here, self.latest, 0.0).sum(), torch.nan)
            share = 1 / (1 + self._before().sum())
            return torch.where(share < 1, share * now + (1 - share) * self._min_accuracy(), now)

    def _min_accuracy(self) -> Float[Tensor, ""]:
        kept = self._before() & self.lowest_since_learned.isfinite()
        return torch.where(kept, self.lowest_since_learned, torch.nan).nanmean()

    def _before(self) -> Bool[Tensor, " tasks"]:
        return self.learned.bool() & ~self._is(self.current)

    def _is(self, task: Int[Tensor, ""]) -> Bool[Tensor, " tasks"]:
        return torch.arange(len(self.latest), device=task.device) == task
