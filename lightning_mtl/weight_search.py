"""A search for the best fixed weights of the losses, beside as many trials of a balancer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import lightning as L
import torch
from torch.quasirandom import SobolEngine

from ._table import table
from .balancers import Balancer, FromGramian, Static
from .comparison import TaskScore, fit, refuse_generators, task_scores, validation_score
from .data import MultiTaskDataModule
from .modules import MultiTaskModule
from .writing import write_csv

EQUAL, FIXED = "equal weights", "fixed weights"
"""Names of the arms that every search has."""


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
        """Their standard deviation; NaN where a trial has no score."""
        return math.nan if any(map(math.isnan, self.scores)) else stdev(self.scores)


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
        """Write a row for each trial of each arm."""
        tests = [f"test/{task}/{metric}" for task, (metric, *_) in self._metrics().items()]
        tasks = list(self.arms[0].best.weights or ())
        weights = [f"weight/{task}" for task in tasks]
        rows: list[tuple[Any, ...]] = [("arm", "trial", "best", "run", "seed", "validate/score", *tests, *weights)]
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
            for task, (metric, sign, _) in self._metrics().items()
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


def search_weights(
    build: Callable[[Balancer | None], MultiTaskModule],
    data: MultiTaskDataModule,
    trainer: Callable[[str], L.Trainer],
    *,
    trials: int = 8,
    seed: int = 0,
    spread: float = 10.0,
    finish: Callable[[L.Trainer], None] | None = None,
) -> WeightSearch:
    """Search fixed weights of the losses, beside as many trials of equal weights and of the balancer.

    A balancer that is run several times, and compared with one run of equal weights, has an unfair advantage: the best of several
    runs is better than one. Here every arm has as many trials. In "equal weights" they differ only by the seed, which shows how
    much of the best result is chance. In "fixed weights" trial 0 has equal weights too (it is the same run), and the others have
    weights from `draw_weights`. Where the module has a balancer, the third arm trains with it. Trial i of every arm has the same
    seed, the same data in the same order and the same number of steps. Weights multiply `Task.weight`: where one loss is 1000
    times smaller than another, bring them near each other with `Task.weight`, or give a wider `spread`.

    In each arm the trial with the highest `validate/score` is chosen (with the weights of its best checkpoint where the Trainer
    monitors a metric, as in `compare`), and the table shows its metrics on the split "test". Arms have equal numbers of trials,
    not equal time: a step of a balancer may cost more. One best network for each arm gives no interval: to confirm a winner,
    train it over several seeds that the search has not used.

    References: Xin et al., "Do current multi-task optimization methods in deep learning even help?", NeurIPS 2022; Kurin et al.,
    "In defense of the unitary scalarization for deep multi-task learning", NeurIPS 2022.

    Args:
        build: Makes a new module for all tasks with this balancer; with the user's own choice, or none, where it gets None.
        data: The data, with splits "validation" and "test".
        trainer: Makes a new Trainer for the run of this name, e.g. "fixed-weights/trial3" or "PCGrad/trial0".
        trials: How many networks each arm trains, at least two.
        seed: The seed of trial 0, and of the drawn weights; trial i has seed + i.
        spread: How far apart the drawn weights can be; see `draw_weights`.
        finish: Called with each Trainer when its run is over, e.g. to close its logger.

    Returns:
        Each arm's trials, with scores, metrics of each task and weights.

    Raises:
        ValueError: There are fewer than two trials or tasks, `build` does not use the balancer that it gets, or a split lacks labels.
    """
    module = build(None)
    names = [task.name for task in module.tasks]
    if len(names) < 2:
        raise ValueError(
            f"`build` must make a module with at least two tasks, got {names}: there is nothing to weight."
        )
    drawn = draw_weights(names, trials, seed=seed, spread=spread)
    refuse_generators(data)
    own_summary, train = data.summary, _Search(build, data, trainer, seed, finish)
    try:
        equal = train.arm(EQUAL, drawn[:1] * trials)
        arms = [equal, train.arm(FIXED, drawn, equal.trials[:1])]
        if module.balancer is not None:
            arms.append(train.arm(_name(module.balancer), [None] * trials))
    finally:
        data.summary = own_summary
    return WeightSearch(tuple(arms))


def draw_weights(names: Sequence[str], trials: int, *, seed: int = 0, spread: float = 10.0) -> list[dict[str, float]]:
    """Draw weights for each trial, which sum to the number of tasks: first equal ones, then a scrambled Sobol sequence.

    Before they are scaled to their sum, the logarithms of the weights are uniform between those of 1 / spread and spread, so that
    two weights differ by a factor of spread^2 at most. More trials continue the same sequence.

    Args:
        names: The names of the tasks.
        trials: The number of trials, at least two.
        seed: The seed of the sequence.
        spread: How many times greater or smaller than 1 a weight can be, before it is scaled.

    Raises:
        ValueError: There are fewer than two trials, or `spread` is not above 1.

    Example:
        >>> for weights in draw_weights(["mood", "age"], 3):
        ...     print({name: round(weight, 2) for name, weight in weights.items()})
        {'mood': 1.0, 'age': 1.0}
        {'mood': 0.74, 'age': 1.26}
        {'mood': 1.85, 'age': 0.15}
    """
    if trials < 2:
        raise ValueError(
            f"`trials` must be at least 2, got {trials}. Trial 0 has equal weights; the others have drawn ones."
        )
    if not 1 < spread < math.inf:
        raise ValueError(f"`spread` must be above 1 and finite, got {spread}. 10 makes weights between 1/10 and 10.")
    sobol = SobolEngine(len(names), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    drawn = spread ** (2 * sobol.draw(trials - 1, dtype=torch.float64) - 1)
    scaled = len(names) * drawn / drawn.sum(1, keepdim=True)
    return [dict.fromkeys(names, 1.0), *(dict(zip(names, weights, strict=True)) for weights in scaled.tolist())]


@dataclass(frozen=True)
class _Search:
    """Trains and tests the networks of all trials."""

    build: Callable[[Balancer | None], MultiTaskModule]
    data: MultiTaskDataModule
    trainer: Callable[[str], L.Trainer]
    seed: int
    finish: Callable[[L.Trainer], None] | None

    def arm(self, name: str, weights: Sequence[Mapping[str, float] | None], done: Sequence[Trial] = ()) -> Arm:
        """Run the trials of an arm that are not done yet, and return the arm."""
        rest = range(len(done), len(weights))
        return Arm(name, (*done, *(self.trial(name, number, weights[number]) for number in rest)))

    def trial(self, arm: str, number: int, weights: Mapping[str, float] | None) -> Trial:
        """Train, validate and test one network."""
        seed, run = self.seed + number, f"{arm.replace(' ', '-')}/trial{number}"
        L.seed_everything(seed, verbose=False)
        trainer, module = self.trainer(run), self.module(weights)
        checkpoint = fit(trainer, module, self.data)
        score = validation_score(trainer, module, self.data, checkpoint)
        tests = task_scores(trainer, module, self.data, checkpoint)
        if self.finish is not None:
            self.finish(trainer)
        self.data.summary = False  # one table of the tasks is enough
        return Trial(run, seed, score, tests, weights)

    def module(self, weights: Mapping[str, float] | None) -> MultiTaskModule:
        """Make a network with these weights, or with the user's own balancer for None."""
        if weights is None:
            return self.build(None)
        module = self.build(Static(dict(weights)))
        made = module.balancer
        if not isinstance(made, Static) or made.weights != weights:
            raise ValueError(
                f"`build` must make the module with the balancer that it gets, Static, got {made}. Pass it on."
            )
        return module


def _name(balancer: Balancer) -> str:
    """Return the class name of a balancer, or the name of a function."""
    made = balancer.function if isinstance(balancer, FromGramian) else balancer
    return str(getattr(made, "__name__", type(made).__name__)).strip("<>")
