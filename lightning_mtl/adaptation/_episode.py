"""One episode: adaptation to its support, and evaluation on its query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ._base import Adaptation, Inner
from ._problem import Answer, Data, Parameters, Problem

Episode = tuple[Data, Data]
"""Support and query; or those of several episodes, with a leading axis."""


def adapt_and_evaluate(
    problem: Problem,
    rule: Adaptation,
    parameters: Parameters,
    learned: Parameters,
    weights: Tensor | None,
    episode: Episode,
    inner: Inner,
    steps: int,
    every: bool = False,
) -> tuple[Tensor, Answer, Parameters]:
    """Adapt to the support, and evaluate on the query.

    Args:
        problem: The task.
        rule: The algorithm that adapts its parameters to the support.
        parameters: All trained parameters.
        learned: The parameters that the rule learns itself.
        weights: Weights of the query's losses after each step, [steps]. Default: only the last one counts.
        episode: Support and query.
        inner: The functions of the support that the rule can use.
        steps: Number of steps.
        every: Whether to return the query's losses and predictions before the first step and after each step.

    Returns:
        The loss that is minimised; the query's loss and predictions after the last step, or with `every` after each step with a
        leading axis; the adapted parameters.
    """
    support, query = episode
    memory, answers = rule.begin(parameters), []
    for number in range(steps + 1):
        if every or number == steps or (number and weights is not None):
            answers.append(problem.query(parameters, support, query))
        if number < steps:
            parameters, memory = rule.step(parameters, memory, number, learned, inner)
    last = answers[-1]
    if weights is None or not steps:
        objective = last[0]
    else:
        objective = (weights * torch.stack([loss for loss, _ in answers[-steps:]])).sum()
    return objective, _stacked(answers) if every else last, parameters


def _stacked(answers: Sequence[Answer]) -> Answer:
    losses, predictions = zip(*answers, strict=True)
    return torch.stack(losses), {name: torch.stack([of[name] for of in predictions]) for name in predictions[0]}


def step_weights(rule: Adaptation, parameters: Parameters) -> Tensor | None:
    """Return `rule.step_weights()` as a tensor, on the device of these parameters and at least in float32."""
    weights = rule.step_weights()
    if weights is None:
        return None
    like = next(iter(parameters.values()))
    return torch.tensor(weights, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)


def difference(rule: Any, before: Parameters, after: Parameters) -> Parameters:
    """Return the change of these parameters by the adaptation, divided by its rate."""
    return {name: (value - after[name]) / rule.rate for name, value in before.items()}


def singles(episodes: Episode) -> Iterator[Episode]:
    """Iterate over the episodes of a leading axis."""
    for number in range(len(episodes[0]["target"])):
        yield pytree.tree_map(lambda x, i=number: x[i], episodes)


def stacked(episodes: Sequence[Episode]) -> list[Episode]:
    """Stack episodes of equal shapes along a leading axis."""
    groups: dict[Any, tuple[Any, list[Any]]] = {}
    for episode in episodes:
        leaves, form = pytree.tree_flatten(episode)
        key = (str(form), *((leaf.shape, leaf.dtype) for leaf in leaves))
        groups.setdefault(key, (form, []))[1].append(leaves)
    return [
        pytree.tree_unflatten([torch.stack(leaves) for leaves in zip(*group, strict=True)], form)
        for form, group in groups.values()
    ]
