"""A check, once, of whether adapting to episodes together gives what adapting to one after another gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ._base import Adaptation
from ._episode import Episode, singles
from ._loop import looped
from ._mapped import Mapped
from ._problem import Parameters, Problem

CLOSE = 1e-6
"""How far two engines may lie apart in double precision, relative to the largest gradient."""


def objection(
    problem: Problem,
    rule: Adaptation,
    parameters: Parameters,
    wanted: Sequence[str],
    learned: Parameters,
    episodes: Episode,
    *,
    training: bool,
) -> str | None:
    """Say what speaks against adapting to episodes together; nothing if nothing does.

    Two of them are run together as they are, and then in double precision by both engines, without dropout.

    Args:
        problem: The task.
        rule: How its parameters follow from the support.
        parameters: All that are trained.
        wanted: Names of those whose gradients are asked for.
        learned: What the rule learns itself.
        episodes: Support and query, with a leading axis.
        training: Whether gradients are asked for.
    """
    two: Episode = pytree.tree_map(lambda x: x[:2], episodes)
    devices = {value.device for value in parameters.values() if value.is_cuda}
    try:
        with torch.random.fork_rng(devices=[device.index for device in devices]), _evaluating(problem.learner):
            Mapped(problem, rule)(parameters, wanted, learned, two, training=training)
            with torch.autocast(next(iter(parameters.values())).device.type, enabled=False):
                return _apart(
                    _wide_problem(problem), rule, _wide(parameters), wanted, _wide(learned), _wide(two), training
                )
    except Exception as error:  # what a network must not do under `vmap` fails in many ways
        return f"it fails with {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def _apart(
    problem: Problem,
    rule: Adaptation,
    parameters: Parameters,
    wanted: Sequence[str],
    learned: Parameters,
    two: Episode,
    training: bool,
) -> str | None:
    together = Mapped(problem, rule)(parameters, wanted, learned, two, training=training)
    alone = looped(problem, rule, parameters, wanted, learned, singles(two), training=training)
    pairs = [(torch.cat(together.losses), torch.cat(alone.losses))]
    pairs += [(value, alone.gradients[name]) for name, value in together.gradients.items()]
    pairs += [(value, alone.learned[name]) for name, value in together.learned.items()]
    apart = max(((a - b).abs().max() / b.abs().max().clamp(min=1e-8)).item() for a, b in pairs)
    return None if apart <= CLOSE else f"its results are others (by {apart:.1e} of the largest)"


def _wide(tensors: Any) -> Any:
    return pytree.tree_map(lambda x: x.detach().double() if x.is_floating_point() else x, tensors)


def _wide_problem(problem: Problem) -> Problem:
    learner = problem.learner
    return Problem(learner, problem.norms, _wide({**dict(learner.named_parameters()), **dict(learner.named_buffers())}))


@contextmanager
def _evaluating(learner: nn.Module) -> Iterator[None]:
    modes: list[tuple[Any, bool]] = [(module, module.training) for module in learner.modules()]
    try:
        learner.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
