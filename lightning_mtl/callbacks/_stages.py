"""The scores of all tasks after each phase of training."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..metrics import BackwardTransfer, Forgetting, ForwardTransfer, ScoreMatrix


@dataclass
class Stages:
    """The scores of all tasks after each stage, and what follows from them.

    Args:
        tasks: Names of the tasks.
        names: The sources of each stage that is over.
        matrix: The scores of all tasks after each of these, [stages, tasks].
        initial: Their scores before training.
        learned_at: The stage in which each task was trained last; -1 if in none so far.
        begun_at: The stage in which it was trained first; -1 if in none so far.
        numbers: The number of each stage's phase.
    """

    tasks: list[str]
    names: list[str] = field(default_factory=list)
    matrix: list[list[float]] = field(default_factory=list)
    initial: list[float] | None = None
    learned_at: list[int] = field(default_factory=list)
    begun_at: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.learned_at = self.learned_at or [-1] * len(self.tasks)
        self.begun_at = self.begun_at or list(self.learned_at)

    def end(self, number: int, name: str, trained: Collection[str], scores: list[float]) -> None:
        """Add a stage in which these tasks were trained; it replaces the last one of the same number, which a resumed run has continued."""
        if self.numbers[-1:] == [number]:
            for of in (self.numbers, self.names, self.matrix):
                of.pop()
        for i, task in enumerate(self.tasks):
            if task in trained:
                self.learned_at[i] = len(self.names)
                self.begun_at[i] = self.learned_at[i] if self.begun_at[i] < 0 else self.begun_at[i]
        self.numbers.append(number)
        self.names.append(name)
        self.matrix.append(scores)

    def figures(self) -> dict[str, float]:
        """Return forgetting, backward and forward transfer of the tasks trained so far; nothing before the end of the second stage, or where no task was trained."""
        learned = [i for i, at in enumerate(self.learned_at) if at >= 0]
        if len(self.names) < 2 or not learned:
            return {}
        count, stages = len(learned), len(self.names)
        last, first = ([at[i] for i in learned] for at in (self.learned_at, self.begun_at))
        before = [math.nan] * count if self.initial is None else [self.initial[i] for i in learned]
        return {
            "forgetting": self._after(Forgetting(count, learned_at=last, stages=stages), learned),
            "backward_transfer": self._after(BackwardTransfer(count, learned_at=last, stages=stages), learned),
            "forward_transfer": self._after(
                ForwardTransfer(count, initial=before, learned_at=first, stages=stages), learned
            ),
        }

    def _after(self, metric: ScoreMatrix, tasks: Sequence[int]) -> float:
        for stage, scores in enumerate(self.matrix):
            metric.update(stage, torch.tensor([scores[i] for i in tasks], dtype=torch.float64))
        return float(
            metric.terms().nanmean()
        )  # `compute` would synchronise the ranks, but each knows all scores, and may call this alone

    def state(self) -> dict[str, Any]:
        """Return the arguments that make it again."""
        return asdict(self)
