"""The result of a search for fixed weights, and its table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from .._table import table
from ..comparison import TaskScore
from ..writing import write_csv


@dataclass(frozen=True)
class Trial:
    """One network: `score` is its `validate/score`, `tests` are the tasks' metrics, `weights` are None with a balancer."""

    run: str
    seed: int
    score: float
    tests: Mapping[str, TaskScore]
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Arm:
    """The trials of one way to share a step."""

    name: str
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The trial with the highest validation score, the first of several; one without a score comes last."""
        return max(self.trials, key=lambda trial: -math.inf if math.isnan(trial.score) else trial.score)

    @property
    def scores(self) -> list[float]:
        """The validation score of each trial."""
        return [trial.score for trial in self.trials]

    @property
    def deviation(self) -> float:
        """Their standard deviation; NaN where a trial has no score, and of a single trial."""
        return math.nan if any(map(math.isnan, self.scores)) or len(self.scores) < 2 else stdev(self.scores)


@dataclass(frozen=True)
class WeightSearch:
    """The result of `search_weights`; `str()` of it is the table.

    Example:
        >>> def trial(arm: str, seed: int, score: float, accuracy: float, mse: float, mood: float, age: float) -> Trial:
        ...     tests = {"mood": TaskScore("accuracy", 1, accuracy), "age": TaskScore("mse", -1, mse)}
        ...     return Trial(f"{arm}/trial{seed}", seed, score, tests, {"mood": mood, "age": age})
        >>> equal, again = (trial("equal-weights", seed, 0.70 + 0.02 * seed, 0.79, 9.2, 1.0, 1.0) for seed in (0, 1))
        >>> drawn = trial("fixed-weights", 1, 0.75, 0.81, 8.5, 0.4, 1.6)
        >>> arms = (Arm("equal weights", (equal, again)), Arm("fixed weights", (equal, drawn)))
        >>> print(WeightSearch(arms))
                                       equal weights  fixed weights
        -----------------------------  -------------  -------------
        trials                                     2              2
        validation score, mean                0.7100         0.7250
        standard deviation                    0.0141         0.0354
        best trial                                 1              1
        its validation score                  0.7200         0.7500
        test mood accuracy                    0.7900         0.8100
        test age mse, lower is better         9.2000         8.5000
        weight of mood                        1.0000         0.4000
        weight of age                         1.0000         1.6000
        ...
    """

    arms: tuple[Arm, ...]

    @property
    def best(self) -> Arm:
        """The arm whose best trial has the highest validation score."""
        winners = Arm("", tuple(arm.best for arm in self.arms))
        return next(arm for arm in self.arms if arm.best is winners.best)

    def __str__(self) -> str:
        rows = [
            ("trials", *(str(len(arm.trials)) for arm in self.arms)),
            ("validation score, mean", *(f"{fmean(arm.scores):.4f}" for arm in self.arms)),
            ("standard deviation", *(f"{arm.deviation:.4f}" for arm in self.arms)),
            ("best trial", *(str(arm.trials.index(arm.best)) for arm in self.arms)),
            ("its validation score", *(f"{arm.best.score:.4f}" for arm in self.arms)),
        ]
        return f"{table(('', *(arm.name for arm in self.arms)), [*rows, *self._tests(), *self._weights()])}\n{self._closing()}"

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each trial of each arm; the file is whole at any time."""
        tests = [f"test/{task}/{metric}" for task, (metric, *_) in self._metrics().items()]
        tasks = list(self.arms[0].best.weights or ())
        weights = [f"weight/{task}" for task in tasks]
        rows: list[Sequence[Any]] = [("arm", "trial", "best", "run", "seed", "validate/score", *tests, *weights)]
        for arm in self.arms:
            for number, trial in enumerate(arm.trials):
                start = (arm.name, number, trial is arm.best, trial.run, trial.seed, trial.score)
                of = [trial.tests[task].value for task in self._metrics()]
                rows.append((*start, *of, *((trial.weights or {}).get(task, "") for task in tasks)))
        write_csv(path, rows)

    def _metrics(self) -> Mapping[str, TaskScore]:
        return self.arms[0].best.tests

    def _tests(self) -> list[tuple[str, ...]]:
        names = {
            task: f"test {task} {metric}{'' if sign > 0 else ', lower is better'}"
            for task, (metric, sign, *_) in self._metrics().items()
        }
        return [(name, *(f"{arm.best.tests[task].value:.4f}" for arm in self.arms)) for task, name in names.items()]

    def _weights(self) -> list[tuple[str, ...]]:
        found = [arm.best.weights or {} for arm in self.arms]
        return [
            (f"weight of {task}", *(f"{weights[task]:.4f}" if weights else "-" for weights in found))
            for task in found[0]
        ]

    def _closing(self) -> str:
        """Return sentences on what the table can show and what it cannot."""
        seeds = [trial.seed for trial in self.arms[0].trials]
        return (
            f"Trial i of every arm has the seed {seeds[0]} + i, the same data in the same order and the same steps; the best has "
            "the highest validation score.\nEach arm shows one network, the best of "
            f"{len(seeds)}: a difference within the standard deviation of equal weights, which differ by the seed alone, is no "
            "evidence.\nOnly weights were searched: not the rate, and not the options of a balancer."
        )
