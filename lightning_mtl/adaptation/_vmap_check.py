"""A check that the engine "vmap" gives the same result as the engine "loop"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ._base import Adaptation
from ._episode import Episode, singles
from ._loop import run_loop
from ._problem import Parameters, Problem
from ._vmap import VmapEngine

TOLERANCE = 1e-6
"""Largest difference between the engines in double precision, relative to the largest value."""


def vmap_fault(
    problem: Problem,
    rule: Adaptation,
    parameters: Parameters,
    wanted: Sequence[str],
    learned: Parameters,
    episodes: Episode,
    *,
    training: bool,
) -> str | None:
    """Return why the engine "vmap" cannot be used; None if it can.

    It runs two episodes as they are, and then both engines run them in double precision, without dropout.

    Args:
        problem: The task.
        rule: The algorithm that adapts its parameters to a support.
        parameters: All trained parameters.
        wanted: Names of the parameters whose gradients are computed.
        learned: The parameters that the rule learns itself.
        episodes: Support and query, with a leading axis.
        training: Whether to compute gradients.
    """
    two: Episode = pytree.tree_map(lambda x: x[:2], episodes)
    devices = {value.device for value in parameters.values() if value.is_cuda}
    try:
        with torch.random.fork_rng(devices=[device.index for device in devices]), _evaluating(problem.learner):
            VmapEngine(problem, rule)(parameters, wanted, learned, two, training=training)
            with torch.autocast(next(iter(parameters.values())).device.type, enabled=False):
                return _difference(
                    _double_problem(problem),
                    rule,
                    _double(parameters),
                    wanted,
                    _double(learned),
                    _double(two),
                    training,
                )
    except Exception as error:  # operations that `vmap` does not support fail in many ways
        return f"it fails with {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def _difference(
    problem: Problem,
    rule: Adaptation,
    parameters: Parameters,
    wanted: Sequence[str],
    learned: Parameters,
    two: Episode,
    training: bool,
) -> str | None:
    vmapped = VmapEngine(problem, rule)(parameters, wanted, learned, two, training=training)
    looped = run_loop(problem, rule, parameters, wanted, learned, singles(two), training=training)
    pairs = [(torch.cat(vmapped.losses), torch.cat(looped.losses))]
    pairs += [(value, looped.gradients[name]) for name, value in vmapped.gradients.items()]
    pairs += [(value, looped.learned[name]) for name, value in vmapped.learned.items()]
    largest = max(((a - b).abs().max() / b.abs().max().clamp(min=1e-8)).item() for a, b in pairs)
    return None if largest <= TOLERANCE else f"the results differ (by {largest:.1e} of the largest)"


def _double(tensors: Any) -> Any:
    return pytree.tree_map(lambda x: x.detach().double() if x.is_floating_point() else x, tensors)


def _double_problem(problem: Problem) -> Problem:
    learner = problem.learner
    tensors = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
    return Problem(learner, problem.norms, _double(tensors))


@contextmanager
def _evaluating(learner: nn.Module) -> Iterator[None]:
    modes: list[tuple[Any, bool]] = [(module, module.training) for module in learner.modules()]
    try:
        learner.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
