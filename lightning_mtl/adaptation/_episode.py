"""One episode: adapting to its support, and being judged by its query."""

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


def judged(
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
    """Adapt to the support, and judge by the query.

    Args:
        problem: The task.
        rule: How its parameters follow from the support.
        parameters: All that are trained.
        learned: What the rule learns itself.
        weights: What the query's loss after each step counts, [steps]. Default: the last one alone.
        episode: Support and query.
        inner: What the rule asks of the support.
        steps: How many steps to take.
        every: Whether to tell what the query gives before the first step and after each.

    Returns:
        What is minimised; what the query gives after the last step, or at `every` one, with a leading axis; the adapted parameters.
    """
    support, query = episode
    memory, told = rule.begin(parameters), []
    for number in range(steps + 1):
        if every or number == steps or (number and weights is not None):
            told.append(problem.query(parameters, support, query))
        if number < steps:
            parameters, memory = rule.step(parameters, memory, number, learned, inner)
    last = told[-1]
    if weights is None or not steps:
        objective = last[0]
    else:
        objective = (weights * torch.stack([loss for loss, _ in told[-steps:]])).sum()
    return objective, _stacked(told) if every else last, parameters


def _stacked(told: Sequence[Answer]) -> Answer:
    losses, answers = zip(*told, strict=True)
    return torch.stack(losses), {name: torch.stack([of[name] for of in answers]) for name in answers[0]}


def step_weights(rule: Adaptation, parameters: Parameters) -> Tensor | None:
    """Give what the query's loss after each step counts in training, as a tensor beside these parameters."""
    weights = rule.step_weights()
    if weights is None:
        return None
    like = next(iter(parameters.values()))
    return torch.tensor(weights, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)


def difference(rule: Any, before: Parameters, after: Parameters) -> Parameters:
    """Give what adaptation changed of these parameters, in units of its rate."""
    return {name: (value - after[name]) / rule.rate for name, value in before.items()}


def singles(episodes: Episode) -> Iterator[Episode]:
    """Give episodes with a leading axis one by one."""
    for number in range(len(episodes[0]["target"])):
        yield pytree.tree_map(lambda x, i=number: x[i], episodes)


def stacked(episodes: Sequence[Episode]) -> list[Episode]:
    """Put episodes of equal shapes together, with a leading axis."""
    groups: dict[Any, tuple[Any, list[Any]]] = {}
    for episode in episodes:
        leaves, form = pytree.tree_flatten(episode)
        key = (str(form), *((leaf.shape, leaf.dtype) for leaf in leaves))
        groups.setdefault(key, (form, []))[1].append(leaves)
    return [
        pytree.tree_unflatten([torch.stack(leaves) for leaves in zip(*group, strict=True)], form)
        for form, group in groups.values()
    ]
