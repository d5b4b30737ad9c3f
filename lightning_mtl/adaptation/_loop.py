"""Adapts to one episode after another: one task's memory, and anything goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ._base import Adaptation
from ._episode import Episode, difference, judged, step_weights
from ._outcome import Outcome
from ._problem import Data, Parameters, Problem


class Support:
    """The support of an episode, differentiated by `torch.autograd`."""

    def __init__(self, problem: Problem, rule: Adaptation, data: Data, *, second_order: bool) -> None:
        self.problem, self.rule, self.data, self.second_order = problem, rule, data, second_order

    def gradient(self, moving: Parameters, rest: Parameters, step: int) -> Parameters:
        """Give the gradient of the support's loss, as a constant where only first derivatives are asked for."""
        if not self.second_order:
            moving = {name: value.detach().requires_grad_() for name, value in moving.items()}
            rest = {name: value.detach() for name, value in rest.items()}
        loss, _ = self.problem.support({**rest, **moving}, self.rule.part(self.data, step))
        found = torch.autograd.grad(loss, list(moving.values()), create_graph=self.second_order, materialize_grads=True)
        return dict(zip(moving, found, strict=True))

    def features(self, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Give what the head's layers read, and the labels."""
        return self.problem.features(parameters, self.data), self.data["target"]


def looped(
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
        rule: How its parameters follow from the support.
        parameters: All that are trained.
        wanted: Names of those whose gradients are asked for.
        learned: What the rule learns itself.
        episodes: Support and query of each.
        training: Whether gradients are asked for.
        every: Whether to tell what the query gives before the first step and after each.
        steps: How many steps to take. Default: as the rule says.
    """
    outcome, count = Outcome(), rule.count(training, steps)
    for episode in episodes:
        _add(outcome, problem, rule, parameters, wanted, learned, episode, training, every, count)
    return outcome


def _add(
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
    through = training and not rule.follows_difference  # the query's loss, by its gradient
    before = {name: value.detach() for name, value in parameters.items()}
    before |= {name: before[name].requires_grad_(through) for name in wanted}
    learned = {name: value.detach().requires_grad_(through) for name, value in learned.items()}
    inner = Support(problem, rule, episode[0], second_order=through and not rule.first_order)
    weights = step_weights(rule, parameters) if training else None
    objective, told, after = judged(problem, rule, before, learned, weights, episode, inner, steps, every)
    gradients, rates = {}, {}
    if through:
        leaves = [*(before[name] for name in wanted), *learned.values()]
        found = torch.autograd.grad(objective, leaves, materialize_grads=True)
        gradients = dict(zip(wanted, found[: len(wanted)], strict=True))
        rates = dict(zip(learned, found[len(wanted) :], strict=True))
    elif training:
        gradients = difference(rule, {name: before[name] for name in wanted}, after)
    loss, answer = told
    outcome.add(loss.unsqueeze(0), {name: value.unsqueeze(0) for name, value in answer.items()}, gradients, rates)
