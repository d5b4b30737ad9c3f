"""Runs a rule over episodes of one task, by the engine that suits them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd
from torch.utils import _pytree as pytree

from ._base import Adaptation
from ._episode import Episode, singles, stacked
from ._loop import Support, looped
from ._mapped import Mapped
from ._norms import EpisodeNorms, Norm
from ._outcome import Outcome
from ._parity import objection
from ._problem import Data, Parameters, Problem

EngineName = Literal["auto", "loop", "vmap"]
ENGINES = get_args(EngineName)
FEW = 8
"""Episodes of equal shapes from which adapting to them together pays."""


class Adapting:
    """Adapts one task to episodes: together where that pays and is right, else one after another.

    Args:
        learner: The task; see `Problem`.
        rule: How its parameters follow from the support.
        engine: "loop", "vmap", or "auto": together from 8 episodes of equal shapes on, if a check on two of them in double precision
            finds what the loop finds; on the CPU not where there are convolutions, which gain nothing by it.
        chunk: How many at a time, together. Default: all of equal shapes.
        compiled: Whether to compile what is run together.
        norm: How layers that keep running statistics normalise within an episode.
    """

    def __init__(
        self,
        learner: nn.Module,
        rule: Adaptation,
        *,
        engine: EngineName = "auto",
        chunk: int | None = None,
        compiled: bool = False,
        norm: Norm = "episode",
    ) -> None:
        self.problem = Problem(learner, EpisodeNorms(learner, norm))
        self.rule, self.engine, self.chunk = rule, engine, chunk
        self._convolves = any(isinstance(layer, _ConvNd) for layer in learner.modules())
        """Whether there are convolutions, which the CPU is slower at with a kernel of its own for each episode."""
        self.parameters = dict(learner.named_parameters())
        self._mapped = Mapped(self.problem, rule, compiled=compiled)
        self._right: dict[tuple[bool, bool], bool] = {}
        """Whether adapting together was found to be right, with and without gradients, of first order and of second."""

    def trained(self) -> Parameters:
        """Give the parameters that are trained."""
        return {name: value for name, value in self.parameters.items() if value.requires_grad}

    def __call__(
        self,
        episodes: Episode | Sequence[Episode],
        *,
        training: bool,
        every: bool = False,
        steps: int | None = None,
    ) -> list[Outcome]:
        """Adapt to episodes.

        Args:
            episodes: Support and query, with a leading axis; or a list of these of single episodes, which may differ in shape.
            training: Whether gradients are asked for.
            every: Whether to tell what the query gives before the first step and after each.
            steps: How many steps to take. Default: as the rule says.

        Returns:
            What came of it, for each shape of episodes.
        """
        together = [episodes] if isinstance(episodes, tuple) else stacked(episodes)
        if training and self.rule.joins_query:
            together = [_joined(part) for part in together]
        with self._settings(training, self.rule.count(training, steps)):
            together = pytree.tree_map(_savable, together)
            return [self._run(part, training, every, steps) for part in together]

    def keep(self, support: Data, steps: int | None = None) -> None:
        """Adapt to one support, and give the learner what came of it: parameters, and the statistics of batch norms.

        Args:
            support: The examples.
            steps: How many steps to take. Default: as the rule says.

        Raises:
            ValueError: They diverge.
        """
        rule, problem, count = self.rule, self.problem, self.rule.count(False, steps)
        now = {name: value.detach() for name, value in self.trained().items()}
        memory, learned = rule.begin(now), {name: value.detach() for name, value in rule.learned().items()}
        inner = Support(problem, rule, support, second_order=False)
        with self._settings(False, count):
            for number in range(count):
                now, memory = rule.step(now, memory, number, learned, inner)
                if not all(bool(value.isfinite().all()) for value in now.values()):
                    raise ValueError(
                        f"Adapting must stay finite, got parameters that are not after inner step {number + 1}, with `rate` "
                        f"{getattr(rule, 'rate', None)}. Take a smaller rate, or fewer steps."
                    )
            with torch.no_grad():
                if problem.norms.layers and problem.norms.norm != "running" and count:
                    with problem.norms.noting():
                        problem.support(now, support)
                    problem.norms.write()
                for name, value in now.items():
                    self.parameters[name].copy_(value)

    def _run(self, episodes: Episode, training: bool, every: bool, steps: int | None) -> Outcome:
        parameters, learned = self.trained(), self.rule.learned()
        wanted = [name for name in parameters if not self.rule.replaces(name)]
        if self._together(parameters, wanted, episodes, training):
            with _noted():
                return self._mapped(
                    parameters, wanted, learned, episodes, training=training, every=every, steps=steps, chunk=self.chunk
                )
        alone, problem, rule = singles(episodes), self.problem, self.rule
        return looped(problem, rule, parameters, wanted, learned, alone, training=training, every=every, steps=steps)

    def _together(self, parameters: Parameters, wanted: Sequence[str], episodes: Episode, training: bool) -> bool:
        if self.problem.norms.layers and not self.rule.count(training):
            return False  # running statistics move, one episode after another
        if self.engine != "auto":
            return self.engine == "vmap"
        if len(episodes[0]["target"]) < FEW or (self._convolves and episodes[0]["target"].is_cpu):
            return False
        how = training, self.rule.first_order
        if how not in self._right:
            learned = self.rule.learned()
            against = objection(self.problem, self.rule, parameters, wanted, learned, episodes, training=training)
            self._right[how] = against is None
            if against is not None:
                warnings.warn(
                    f"Episodes are adapted to one after another: together, {against}. Give engine='loop' to say so yourself.",
                    stacklevel=2,
                )
        return self._right[how]

    @contextmanager
    def _settings(self, training: bool, steps: int) -> Iterator[None]:
        """Let gradients be taken, of attention too, and statistics be those of an episode."""
        fast = torch.backends.mha.get_fastpath_enabled()
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            if steps:  # without a step it is training as ever
                stack.enter_context(self.problem.norms.led())
            if self.engine != "loop" or (training and not self.rule.first_order):
                stack.enter_context(
                    sdpa_kernel(SDPBackend.MATH)
                )  # fused attention has no second derivative, nor a batch rule
            torch.backends.mha.set_fastpath_enabled(False)
            stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
            yield


@contextmanager
def _noted() -> Iterator[None]:
    """Add to an error that it came while episodes were adapted to together, since few say so themselves."""
    try:
        yield
    except Exception as error:
        error.add_note(
            "Episodes were adapted to together, by `vmap`, which some layers (e.g. nn.GRU) do not bear. Give engine='loop' to adapt to one after "
            "another, or leave `engine` out to have it chosen."
        )
        raise


def _savable(x: Tensor) -> Tensor:
    """Give a tensor that may be saved for a gradient, as one of inference mode may not."""
    return x.clone() if x.is_inference() else x


def _joined(episodes: Episode) -> Episode:
    """Put support and query together as the support."""
    support, query = episodes
    behind = dict(query)
    if "rows" in behind:  # they number the words, which lie behind those of the support
        behind["rows"] = behind["rows"] + support["target"][0].numel()
    return pytree.tree_map(lambda a, b: torch.cat([a, b], 1), dict(support), behind), query
