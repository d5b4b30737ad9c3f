"""Which tasks no longer improve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Patience:
    """Knows the best score of each task, and which tasks have stopped.

    A score is better if it is above the best one so far by more than `min_delta`; NaN never is. A task has stopped when as many
    evaluations in a row as its patience were not better.

    Args:
        min_delta: By how much a score must be above the best one.

    Example:
        >>> patience = Patience()
        >>> [patience.update(step, {"a": score}, {"a": 2}) for step, score in enumerate([0.5, 0.7, 0.6, 0.7])]
        [(['a'], []), (['a'], []), ([], []), ([], ['a'])]
        >>> patience.best, patience.stopped
        ({'a': {'step': 1, 'score': 0.7}}, {'a': 3})
    """

    def __init__(self, min_delta: float = 0.0) -> None:
        self.min_delta = min_delta
        self.best: dict[str, dict[str, Any]] = {}
        """The best evaluation of each task: its step, and the score."""
        self.stopped: dict[str, int] = {}
        """The step at which each task has stopped."""
        self._waited: dict[str, int] = {}

    def update(
        self, step: int, scores: Mapping[str, float], patience: Mapping[str, int]
    ) -> tuple[list[str], list[str]]:
        """Add the scores of an evaluation, and return the names of the tasks that are better, and of those that have stopped now.

        Args:
            step: The step of the evaluation.
            scores: {task: score}, higher is better.
            patience: {task: evaluations in a row}; other tasks are ignored.
        """
        known = {task: score for task, score in scores.items() if task in patience}
        better = [task for task, score in known.items() if self._is_better(task, score)]
        for task in known:
            self._waited[task] = 0 if task in better else self._waited.get(task, 0) + 1
        self.best |= {task: {"step": step, "score": known[task]} for task in better}
        stopped = [task for task in known if self._waited[task] >= patience[task] and task not in self.stopped]
        self.stopped |= dict.fromkeys(stopped, step)
        return better, stopped

    def state_dict(self) -> dict[str, Any]:
        """Return best scores, evaluations without a better one, and which tasks have stopped."""
        return {"best": dict(self.best), "waited": dict(self._waited), "stopped": dict(self.stopped)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.best, self._waited, self.stopped = dict(state["best"]), dict(state["waited"]), dict(state["stopped"])

    def _is_better(self, task: str, score: float) -> bool:
        if task not in self.best:
            return score == score
        return bool(score > self.best[task]["score"] + self.min_delta)
