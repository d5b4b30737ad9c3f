"""The engine "loop": it adapts to one episode after another, in the memory of one, with any layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ._base import Adaptation
from ._episode import Episode, adapt_and_evaluate, difference, step_weights
from ._outcome import Outcome
from ._problem import Data, Parameters, Problem


class Support:
    """The support of an episode, with gradients by `torch.autograd`."""

    def __init__(self, problem: Problem, rule: Adaptation, data: Data, *, second_order: bool) -> None:
        self.problem, self.rule, self.data, self.second_order = problem, rule, data, second_order

    def gradient(self, moving: Parameters, rest: Parameters, step: int) -> Parameters:
        """Return the gradient of the support's loss; without `second_order` it is a constant."""
        if not self.second_order:
            moving = {name: value.detach().requires_grad_() for name, value in moving.items()}
            rest = {name: value.detach() for name, value in rest.items()}
        loss, _ = self.problem.support({**rest, **moving}, self.rule.part(self.data, step))
        found = torch.autograd.grad(loss, list(moving.values()), create_graph=self.second_order, materialize_grads=True)
        return dict(zip(moving, found, strict=True))

    def features(self, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Return the input of the head's layers, and the labels."""
        return self.problem.features(parameters, self.data), self.data["target"]


def run_loop(
    problem: Problem,
    rule: Adaptation,
    parameters: Parameters,
    wanted: Sequence[str],
    learned: Parameters,
    episodes: Iterable[Episode],
    *,
    training: bool,
    every: bool = False,
    steps: int | None = None,
) -> Outcome:
    """Adapt to episodes, one after another.

    Args:
        problem: The task.
        rule: The algorithm that adapts its parameters to a support.
        parameters: All trained parameters.
        wanted: Names of the parameters whose gradients are computed.
        learned: The parameters that the rule learns itself.
        episodes: Support and query of each episode.
        training: Whether to compute gradients.
        every: Whether to return the query's losses and predictions before the first step and after each step.
        steps: Number of steps. Default: that of the rule.
    """
    outcome, count = Outcome(), rule.count(training, steps)
    for episode in episodes:
        _run_episode(outcome, problem, rule, parameters, wanted, learned, episode, training, every, count)
    return outcome


def _run_episode(
    outcome: Outcome,
    problem: Problem,
    rule: Adaptation,
    parameters: Parameters,
    wanted: Sequence[str],
    learned: Parameters,
    episode: Episode,
    training: bool,
    every: bool,
    steps: int,
) -> None:
    differentiate = training and not rule.follows_difference
    before = {name: value.detach() for name, value in parameters.items()}
    before |= {name: before[name].requires_grad_(differentiate) for name in wanted}
    learned = {name: value.detach().requires_grad_(differentiate) for name, value in learned.items()}
    inner = Support(problem, rule, episode[0], second_order=differentiate and not rule.first_order)
    weights = step_weights(rule, parameters) if training else None
    objective, answer, after = adapt_and_evaluate(problem, rule, before, learned, weights, episode, inner, steps, every)
    gradients, of_learned = {}, {}
    if differentiate:
        leaves = [*(before[name] for name in wanted), *learned.values()]
        found = torch.autograd.grad(objective, leaves, materialize_grads=True)
        gradients = dict(zip(wanted, found[: len(wanted)], strict=True))
        of_learned = dict(zip(learned, found[len(wanted) :], strict=True))
    elif training:
        gradients = difference(rule, {name: before[name] for name in wanted}, after)
    loss, predictions = answer
    predictions = {name: value.unsqueeze(0) for name, value in predictions.items()}
    outcome.add(loss.unsqueeze(0), predictions, gradients, of_learned)
