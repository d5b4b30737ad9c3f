"""The networks of all trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning as L

from ..balancers import Balancer, FromGramian, Static
from ..comparison import NewModules, NewTrainers, as_folder, fit, task_scores, validation_score
from ..data import MultiTaskDataModule
from ..modules import MultiTaskModule
from ._result import Arm, Trial, WeightSearch


@dataclass(frozen=True)
class Trials:
    """Trains and tests the networks of all trials."""

    build: NewModules[MultiTaskModule]
    data: MultiTaskDataModule
    trainer: NewTrainers
    seed: int
    finish: Callable[[L.Trainer], None] | None
    after_trial: Callable[[WeightSearch], Any] | None
    arms: dict[str, Arm] = field(default_factory=dict)
    """What is known so far."""

    def found(self) -> WeightSearch:
        """Return what is known so far."""
        return WeightSearch(tuple(self.arms.values()))

    def arm(self, name: str, weights: Sequence[Mapping[str, float] | None], done: Sequence[Trial] = ()) -> Arm:
        """Run the trials of an arm that are not done yet, and return the arm."""
        for number in range(len(done), len(weights)):
            done = (*done, self.trial(name, number, weights[number]))
            self.arms[name] = Arm(name, tuple(done))
            if self.after_trial is not None:
                self.after_trial(self.found())
        return self.arms[name]

    def trial(self, arm: str, number: int, weights: Mapping[str, float] | None) -> Trial:
        """Train, validate and test one network."""
        seed, run = self.seed + number, f"{as_folder(arm.replace(' ', '-'))}/trial{number}"
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


def name_of(balancer: Balancer) -> str:
    """Return the class name of a balancer, or the name of a function."""
    made = balancer.function if isinstance(balancer, FromGramian) else balancer
    return str(getattr(made, "__name__", type(made).__name__)).strip("<>")
