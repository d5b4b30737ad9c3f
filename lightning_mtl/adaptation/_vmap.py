"""The engine "vmap": it adapts to many episodes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap
from torch.utils import _pytree as pytree

from ._base import Adaptation, Inner
from ._episode import Episode, adapt_and_evaluate, difference, step_weights
from ._outcome import Outcome
from ._problem import Answer, Data, Parameters, Problem


class _Support:
    """The support of an episode, with gradients by `torch.func`."""

    def __init__(self, problem: Problem, rule: Adaptation, data: Data) -> None:
        self.problem, self.rule, self.data = problem, rule, data

    def gradient(self, moving: Parameters, rest: Parameters, step: int) -> Parameters:
        """Return the gradient of the support's loss, which can be differentiated again."""
        found: Parameters = grad(lambda moving: self._loss(rest, step)(moving)[0])(moving)
        return found

    def _loss(self, rest: Parameters, step: int) -> Callable[[Parameters], Answer]:
        data = self.rule.part(self.data, step)
        return lambda moving: self.problem.support({**rest, **moving}, data)

    def features(self, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Return the input of the head's layers, and the labels."""
        return self.problem.features(parameters, self.data), self.data["target"]


class _RecordingSupport(_Support):
    """A support whose gradients are constants, and are recorded."""

    def __init__(self, problem: Problem, rule: Adaptation, data: Data) -> None:
        super().__init__(problem, rule, data)
        self.recorded: list[Parameters] = []

    def gradient(self, moving: Parameters, rest: Parameters, step: int) -> Parameters:
        """Return the gradient of the support's loss, and record it."""
        (found,), _ = _gradients(self._loss(rest, step), moving)
        self.recorded.append(found)
        return found


class _ReplayingSupport(_Support):
    """A support whose gradients were recorded before; they are constants."""

    def __init__(self, problem: Problem, rule: Adaptation, data: Data, gradients: Sequence[Parameters]) -> None:
        super().__init__(problem, rule, data)
        self.gradients = gradients

    def gradient(self, moving: Parameters, rest: Parameters, step: int) -> Parameters:
        """Return the recorded gradient of this step."""
        return self.gradients[step]


class VmapEngine:
    """Adapts to episodes of equal shapes at once, by `vmap` of the gradient of one episode.

    It never takes the gradient of a `vmap`: through affine layer, batch and instance norms its second derivatives are wrong by
    about a percent, and no error says so. Inner gradients that are constants are computed first, outside of the differentiated
    function, which makes it 1.5 times as fast.

    Args:
        problem: The task.
        rule: The algorithm that adapts its parameters to a support.
        compiled: Whether to compile the training steps, which takes minutes, once for each shape.
    """

    def __init__(self, problem: Problem, rule: Adaptation, *, compiled: bool = False) -> None:
        self.problem, self.rule = problem, rule
        self._run: Callable[..., Any] = _VmappedEpisodes(problem, rule)
        self._compiled: Callable[..., Any] | None = None
        if compiled:
            bound = _copy_of(_VmappedEpisodes.__call__).__get__(self._run)
            self._compiled = torch.compile(bound, dynamic=False, fullgraph=True)

    def __call__(
        self,
        parameters: Parameters,
        wanted: Sequence[str],
        learned: Parameters,
        episodes: Episode,
        *,
        training: bool,
        every: bool = False,
        steps: int | None = None,
        chunk: int | None = None,
    ) -> Outcome:
        """Adapt to episodes, a chunk of them at a time.

        Args:
            parameters: All trained parameters.
            wanted: Names of the parameters whose gradients are computed.
            learned: The parameters that the rule learns itself.
            episodes: Support and query, with a leading axis over episodes.
            training: Whether to compute gradients.
            every: Whether to return the query's losses and predictions before the first step and after each step.
            steps: Number of steps. Default: that of the rule.
            chunk: Number of episodes at a time. Default: all.
        """
        outcome, rule = Outcome(), self.rule
        fixed = {name: value.detach() for name, value in parameters.items()}
        values = {name: fixed.pop(name) for name in wanted}
        rates = {name: value.detach() for name, value in learned.items()}
        weights = step_weights(rule, parameters) if training else None
        count = len(episodes[0]["target"])
        step_count = rule.count(training, steps)
        options = (training and not rule.follows_difference, training, rule.first_order, step_count, every)
        for start in range(0, count, chunk or count):
            part = episodes if chunk is None else _slice(episodes, start, start + chunk)
            run = self._compiled if self._compiled is not None and training else self._run
            outcome.add(*run(values, rates, fixed, weights, part, *options))
        return outcome


class _VmappedEpisodes:
    """A function of tensors only, which can be compiled."""

    def __init__(self, problem: Problem, rule: Adaptation) -> None:
        self.problem, self.rule = problem, rule

    def __call__(
        self,
        values: Parameters,
        rates: Parameters,
        fixed: Parameters,
        weights: Tensor | None,
        episodes: Episode,
        differentiate: bool,
        training: bool,
        first_order: bool,
        steps: int,
        every: bool,
    ) -> tuple[Tensor, dict[str, Tensor], Parameters, Parameters]:
        problem, rule = self.problem, self.rule

        def run(values: Parameters, rates: Parameters, episode: Episode, inner: Inner) -> Any:
            parameters = {**fixed, **values}
            return adapt_and_evaluate(problem, rule, parameters, rates, weights, episode, inner, steps, every)

        def without_gradients(episode: Episode) -> Any:
            _, answer, after = run(values, rates, episode, _RecordingSupport(problem, rule, episode[0]))
            changes = difference(rule, values, after) if training and not differentiate else {}
            return answer, (changes, {})

        def inner_gradients(episode: Episode) -> list[Parameters]:
            inner, now = _RecordingSupport(problem, rule, episode[0]), {**fixed, **values}
            memory = rule.begin(now)
            for number in range(steps):
                now, memory = rule.step(now, memory, number, rates, inner)
            return inner.recorded

        def with_gradients(episode: Episode, recorded: list[Parameters] | None = None) -> Any:
            support = episode[0]

            def objective(values: Parameters, rates: Parameters) -> tuple[Tensor, Answer]:
                if recorded is None:
                    inner = _Support(problem, rule, support)
                else:
                    inner = _ReplayingSupport(problem, rule, support, recorded)
                minimised, answer, _ = run(values, rates, episode, inner)
                return minimised, answer

            gradients, answer = _gradients(objective, values, rates)
            return answer, gradients

        if not differentiate:
            (losses, answers), gradients = _map_over_episodes(without_gradients, episodes)
        else:
            recorded = [_map_over_episodes(inner_gradients, episodes)] if first_order and steps else []
            (losses, answers), gradients = _map_over_episodes(with_gradients, episodes, *recorded)
        sums = [{name: value.sum(0) for name, value in of.items()} for of in gradients]
        return losses, answers, sums[0], sums[1]


def _gradients(
    function: Callable[..., tuple[Tensor, Any]], *arguments: Parameters
) -> tuple[tuple[Parameters, ...], Any]:
    """Return the gradients of a function's first result, and its second result.

    `grad` would record the backward pass, so that it could be differentiated again: in vain here, and with twice the memory.
    """
    found: Any = vjp(function, *arguments, has_aux=True)
    value, backward, second = found
    return backward(torch.ones_like(value), retain_graph=False, create_graph=False), second


def _copy_of(function: Any) -> Any:
    """Copy a function with its code object: the compiler limits the number of compilations per code object."""
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)


def _map_over_episodes(function: Callable[..., Any], *arguments: Any) -> Any:
    """Map a function over episodes; each has random numbers (dropout) of its own."""
    leaves, form = pytree.tree_flatten(arguments)  # once; `vmap` would do it several times

    def flat(*leaves: Tensor) -> Any:
        return function(*pytree.tree_unflatten(leaves, form))

    return vmap(flat, randomness="different")(*leaves)


def _slice(episodes: Episode, start: int, end: int) -> Episode:
    part: Episode = pytree.tree_map(lambda x: x[start:end], episodes)
    return part
