"""Worst-case scores during training, which show the stability gap."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .._checks import require, require_number
from ._kept import Kept, known_mean


class WorstCase(Kept):
    """The lowest score of each task since training switched to the current task.

    Right after a switch, earlier tasks often drop sharply and then recover (the stability gap). Scores at the ends of stages do not
    show it: De Lange et al., "Continual evaluation for lifelong learning: identifying the stability gap", ICLR 2023. Evaluate often,
    and call `switch` when training starts, and whenever it switches to another task. Higher scores are better. All ranks may pass
    the same (synchronised) scores, or each rank the scores that only it knows.

    Args:
        tasks: Number of tasks.

    Raises:
        ValueError: There is no task; from `update`: the number of scores is wrong.

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
        require_number("tasks", tasks, "Give the number of tasks.", at_least=1, whole=True)
        self.keep("lowest", torch.full((tasks,), torch.inf), "min")
        self.keep("lowest_since_learned", torch.full((tasks,), torch.inf), "min")
        self.keep("latest", torch.full((tasks,), torch.nan), known_mean)
        self.keep("learned", torch.zeros(tasks, dtype=torch.long), "max")
        self.keep("current", torch.tensor(-1), "max")

    def switch(self, current: int) -> None:
        """Switch to another task. Call it on all ranks.

        Args:
            current: Its number, counted from 0.
        """
        count = len(self.latest)
        require_number("current", current, "Give `WorstCase` more tasks.", at_least=0, at_most=count - 1, whole=True)
        done = self._mask_of(self.current)
        self.learned = self.learned | done
        self.lowest_since_learned = torch.where(done, torch.inf, self.lowest_since_learned)
        self.lowest = torch.full_like(self.lowest, torch.inf)
        self.current = torch.full_like(self.current, current)
        self._computed = None

    def update(self, scores: Float[Tensor, " tasks"]) -> None:
        """Update with the scores of an evaluation.

        Args:
            scores: The score of each task; NaN if it is unknown.
        """
        tasks = len(self.latest)
        require(len(scores) == tasks, "scores", f"{tasks} numbers", len(scores), "Write NaN for unknown ones.")
        new = scores.to(self.latest)
        self.latest = torch.where(new.isnan(), self.latest, new)
        self.lowest = self.lowest.fmin(new)
        self.lowest_since_learned = self.lowest_since_learned.fmin(new)

    def compute(self) -> Float[Tensor, " tasks"]:
        """Return the lowest score of each task since the last switch; NaN for a task without a score."""
        return torch.where(self.lowest.isinf(), torch.nan, self.lowest)

    def min_accuracy(self) -> Float[Tensor, ""]:
        """Return min-ACC (equation 3): the mean of the lowest scores that earlier tasks had since they were learned.

        NaN if there is no earlier task. Call it on all ranks.
        """
        with self.together():
            return self._min_accuracy()

    def wc_accuracy(self) -> Float[Tensor, ""]:
        """Return WC-ACC (equation 4): A / k + (1 - 1 / k) min-ACC, with the latest score A of the current task, which is the k-th.

        NaN before the first `switch`. Call it on all ranks.
        """
        with self.together():
            is_current = self._mask_of(self.current)
            latest = torch.where(is_current.any(), torch.where(is_current, self.latest, 0.0).sum(), torch.nan)
            share = 1 / (1 + self._learned_before().sum())
            return torch.where(share < 1, share * latest + (1 - share) * self._min_accuracy(), latest)

    def _min_accuracy(self) -> Float[Tensor, ""]:
        known = self._learned_before() & self.lowest_since_learned.isfinite()
        return torch.where(known, self.lowest_since_learned, torch.nan).nanmean()

    def _learned_before(self) -> Bool[Tensor, " tasks"]:
        return self.learned.bool() & ~self._mask_of(self.current)

    def _mask_of(self, task: Int[Tensor, ""]) -> Bool[Tensor, " tasks"]:
        return torch.arange(len(self.latest), device=task.device) == task
