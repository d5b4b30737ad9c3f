"""A search for the best fixed weights of the losses, beside as many trials of a balancer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L

from ..balancers import Balancer
from ..comparison import NewModules, NewTrainers, refuse_generators, refuse_seeds, refuse_split, refuse_unscored
from ..data import MultiTaskDataModule
from ..modules import MultiTaskModule
from ._drawing import draw_weights, require_drawing
from ._result import WeightSearch
from ._trials import Trials, name_of

EQUAL, FIXED = "equal weights", "fixed weights"
"""Names of the arms that every search has."""


def search_weights(
    build: Callable[[Balancer | None], MultiTaskModule],
    data: MultiTaskDataModule,
    trainer: Callable[[str], L.Trainer],
    *,
    trials: int = 8,
    seed: int = 0,
    spread: float = 10.0,
    finish: Callable[[L.Trainer], None] | None = None,
    after_trial: Callable[[WeightSearch], Any] | None = None,
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
        after_trial: Called with the search so far when a trial is done, e.g. to write it.

    Returns:
        Each arm's trials, with scores, metrics of each task and weights.

    Raises:
        ValueError: There are fewer than two trials or tasks; `build` does not use the balancer that it gets; a split does not fit the
            tasks; `seed` is no seed; or `build` or `trainer` makes nothing new.
    """
    require_drawing(trials, seed, spread)
    refuse_seeds([seed, seed + trials], name="seed")
    modules: NewModules[MultiTaskModule] = NewModules(build)
    module = modules(None)
    names = [task.name for task in module.tasks]
    if len(names) < 2:
        raise ValueError(
            f"`build` must make a module with at least two tasks, got {names}: there is nothing to weight."
        )
    drawn = draw_weights(names, trials, seed=seed, spread=spread)
    refuse_generators(data)
    refuse_split(data, module, "test")
    refuse_unscored(data, module)
    own_summary = data.summary
    train = Trials(modules, data, NewTrainers(trainer, ["validation", "test"]), seed, finish, after_trial)
    train.module(drawn[0])  # a `build` that ignores the balancer is known before the first network is trained
    try:
        equal = train.arm(EQUAL, drawn[:1] * trials)
        train.arm(FIXED, drawn, equal.trials[:1])
        if module.balancer is not None:
            train.arm(name_of(module.balancer), [None] * trials)
    finally:
        data.summary = own_summary
    return train.found()
