"""Runs a rule over episodes of one task, by the engine that suits them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd
from torch.utils import _pytree as pytree

from ._base import Adaptation
from ._episode import Episode, singles, stacked
from ._loop import looped
from ._mapped import Mapped
from ._norms import EpisodeNorms, Norm
from ._outcome import Outcome
from ._parity import objection
from ._problem import Parameters, Problem

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
        self._right: dict[bool, bool] = {}
        """Whether adapting together was found to be right, with and without gradients."""

    def trained(self) -> Parameters:
        """Give the parameters that are trained."""
        return {name: value for name, value in self.parameters.items() if value.requires_grad}

    def __call__(self, episodes: Episode | Sequence[Episode], *, training: bool, every: bool = False) -> list[Outcome]:
        """Adapt to episodes.

        Args:
            episodes: Support and query, with a leading axis; or a list of these of single episodes, which may differ in shape.
            training: Whether gradients are asked for.
            every: Whether to tell what the query gives before the first step and after each.

        Returns:
            What came of it, for each shape of episodes.
        """
        together = [episodes] if isinstance(episodes, tuple) else stacked(episodes)
        if training and self.rule.joins_query:
            together = [_joined(part) for part in together]
        within_inference = torch.is_inference_mode_enabled()
        with self._settings(training):
            if within_inference:
                together = pytree.tree_map(torch.clone, together)  # else they could not be saved for a gradient
            return [self._run(part, training, every) for part in together]

    def _run(self, episodes: Episode, training: bool, every: bool) -> Outcome:
        parameters, learned = self.trained(), self.rule.learned()
        wanted = [name for name in parameters if not self.rule.replaces(name)]
        if self._together(parameters, wanted, episodes, training):
            how = {"training": training, "every": every}
            return self._mapped(parameters, wanted, learned, episodes, chunk=self.chunk, **how)
        alone = singles(episodes)
        return looped(self.problem, self.rule, parameters, wanted, learned, alone, training=training, every=every)

    def _together(self, parameters: Parameters, wanted: Sequence[str], episodes: Episode, training: bool) -> bool:
        if self.engine != "auto":
            return self.engine == "vmap"
        if len(episodes[0]["target"]) < FEW or (self._convolves and episodes[0]["target"].is_cpu):
            return False
        if training not in self._right:
            learned = self.rule.learned()
            against = objection(self.problem, self.rule, parameters, wanted, learned, episodes, training=training)
            self._right[training] = against is None
            if against is not None:
                warnings.warn(
                    f"Episodes are adapted to one after another: together, {against}. Give engine='loop' to say so yourself.",
                    stacklevel=2,
                )
        return self._right[training]

    @contextmanager
    def _settings(self, training: bool) -> Iterator[None]:
        """Let gradients be taken, of attention too, and statistics be those of an episode."""
        fast = torch.backends.mha.get_fastpath_enabled()
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            if self.problem.norms.layers:
                stack.enter_context(self.problem.norms.led())
            if self.engine != "loop" or (training and not self.rule.first_order):
                stack.enter_context(
                    sdpa_kernel(SDPBackend.MATH)
                )  # fused attention has no second derivative, nor a batch rule
            torch.backends.mha.set_fastpath_enabled(False)
            stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
            yield


def _joined(episodes: Episode) -> Episode:
    """Put support and query together as the support."""
    support, query = episodes
    return pytree.tree_map(lambda a, b: torch.cat([a, b], 1), support, query), query
