"""Adapts to many episodes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap
from torch.utils import _pytree as pytree

from ._base import Adaptation, Inner
from ._episode import Episode, difference, judged, step_weights
from ._outcome import Outcome
from ._problem import Answer, Data, Parameters, Problem


class _Support:
    """The support of an episode, differentiated by `torch.func`."""

    def __init__(self, problem: Problem, rule: Adaptation, data: Data) -> None:
        self.problem, self.rule, self.data = problem, rule, data

    def gradient(self, moving: Parameters, rest: Parameters, step: int) -> Parameters:
        """Give the gradient of the support's loss, which can be differentiated."""
        found: Parameters = grad(lambda moving: self._loss(rest, step)(moving)[0])(moving)
        return found

    def _loss(self, rest: Parameters, step: int) -> Callable[[Parameters], Answer]:
        data = self.rule.part(self.data, step)
        return lambda moving: self.problem.support({**rest, **moving}, data)

    def features(self, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Give what the head's layers read, and the labels."""
        return self.problem.features(parameters, self.data), self.data["target"]


class _Noting(_Support):
    """The same, with gradients that count as constants, and are noted."""

    def __init__(self, problem: Problem, rule: Adaptation, data: Data) -> None:
        super().__init__(problem, rule, data)
        self.noted: list[Parameters] = []

    def gradient(self, moving: Parameters, rest: Parameters, step: int) -> Parameters:
        """Give the gradient of the support's loss, and note it."""
        (found,), _ = _derivative(self._loss(rest, step), moving)
        self.noted.append(found)
        return found


class _Known(_Support):
    """The same, with gradients that are known already, and count as constants."""

    def __init__(self, problem: Problem, rule: Adaptation, data: Data, gradients: Sequence[Parameters]) -> None:
        super().__init__(problem, rule, data)
        self.gradients = gradients

    def gradient(self, moving: Parameters, rest: Parameters, step: int) -> Parameters:
        """Give the gradient of this step."""
        return self.gradients[step]


class Mapped:
    """Adapts to episodes of equal shapes at once: `vmap` of each episode's gradient.

    Never the gradient of a `vmap`: through affine layer, batch and instance norms its second derivatives are wrong by about a
    percent, without a word. Where inner gradients are constants, they are computed first, outside of what is differentiated, which is faster by half.

    Args:
        problem: The task.
        rule: How its parameters follow from the support.
        compiled: Whether to compile it, which takes minutes once for each shape.
    """

    def __init__(self, problem: Problem, rule: Adaptation, *, compiled: bool = False) -> None:
        self.problem, self.rule = problem, rule
        self._run: Callable[..., Any] = _Episodes(problem, rule)
        if compiled:
            self._run = torch.compile(self._run, dynamic=False, fullgraph=True)

    def __call__(
        self,
        parameters: Parameters,
        wanted: Sequence[str],
        learned: Parameters,
        episodes: Episode,
        *,
        training: bool,
        every: bool = False,
        chunk: int | None = None,
    ) -> Outcome:
        """Adapt to episodes, some of them at a time.

        Args:
            parameters: All that are trained.
            wanted: Names of those whose gradients are asked for.
            learned: What the rule learns itself.
            episodes: Support and query, with a leading axis over episodes.
            training: Whether gradients are asked for.
            every: Whether to tell what the query gives before the first step and after each.
            chunk: How many at a time. Default: all.
        """
        outcome, rule = Outcome(), self.rule
        fixed = {name: value.detach() for name, value in parameters.items()}
        values = {name: fixed.pop(name) for name in wanted}
        rates = {name: value.detach() for name, value in learned.items()}
        weights = step_weights(rule, episodes) if training else None
        count = len(episodes[0]["target"])
        how = (training and not rule.follows_difference, training, rule.first_order, rule.count(training), every)
        for start in range(0, count, chunk or count):
            part = episodes if chunk is None else _cut(episodes, start, start + chunk)
            outcome.add(*self._run(values, rates, fixed, weights, part, *how))
        return outcome


class _Episodes:
    """What is mapped: a function of tensors alone, which can be compiled."""

    def __init__(self, problem: Problem, rule: Adaptation) -> None:
        self.problem, self.rule = problem, rule

    def __call__(
        self,
        values: Parameters,
        rates: Parameters,
        fixed: Parameters,
        weights: Tensor | None,
        episodes: Episode,
        through: bool,
        training: bool,
        first_order: bool,
        steps: int,
        every: bool,
    ) -> tuple[Tensor, dict[str, Tensor], Parameters, Parameters]:
        problem, rule = self.problem, self.rule

        def whole(values: Parameters, rates: Parameters, episode: Episode, inner: Inner) -> Any:
            return judged(problem, rule, {**fixed, **values}, rates, weights, episode, inner, steps, every)

        def plain(episode: Episode) -> Any:
            _, told, after = whole(values, rates, episode, _Noting(problem, rule, episode[0]))
            changed = difference(rule, values, after) if training and not through else {}
            return told, (changed, {})

        def constants(episode: Episode) -> list[Parameters]:
            inner, now = _Noting(problem, rule, episode[0]), {**fixed, **values}
            memory = rule.begin(now)
            for number in range(steps):
                now, memory = rule.step(now, memory, number, rates, inner)
            return inner.noted

        def differentiated(episode: Episode, known: list[Parameters] | None = None) -> Any:
            def objective(values: Parameters, rates: Parameters) -> tuple[Tensor, Answer]:
                support = episode[0]
                inner = _Support(problem, rule, support) if known is None else _Known(problem, rule, support, known)
                minimised, told, _ = whole(values, rates, episode, inner)
                return minimised, told

            gradients, told = _derivative(objective, values, rates)
            return told, gradients

        if not through:
            (losses, answers), gradients = _each(plain, episodes)
        else:
            known = [_each(constants, episodes)] if first_order and steps else []
            (losses, answers), gradients = _each(differentiated, episodes, *known)
        sums = [{name: value.sum(0) for name, value in of.items()} for of in gradients]
        return losses, answers, sums[0], sums[1]


def _derivative(function: Callable[..., tuple[Tensor, Any]], *given: Parameters) -> tuple[tuple[Parameters, ...], Any]:
    """Give the gradients of a function's first answer, and its second answer.

    `grad` would record the backward pass, to be differentiated again: for nothing here, and in twice the memory.
    """
    found: Any = vjp(function, *given, has_aux=True)
    value, pull, told = found
    return pull(torch.ones_like(value), retain_graph=False, create_graph=False), told


def _each(function: Callable[..., Any], *given: Any) -> Any:
    """Map a function over episodes, whose random numbers (dropout) differ."""
    leaves, form = pytree.tree_flatten(given)  # once, as `vmap` would do several times

    def flat(*leaves: Tensor) -> Any:
        return function(*pytree.tree_unflatten(leaves, form))

    return vmap(flat, randomness="different")(*leaves)


def _cut(episodes: Episode, start: int, end: int) -> Episode:
    part: Episode = pytree.tree_map(lambda x: x[start:end], episodes)
    return part
