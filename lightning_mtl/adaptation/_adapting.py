"""Adapts one task to episodes, and chooses the engine."""

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
from ._loop import Support, run_loop
from ._norms import EpisodeNorms, Norm
from ._outcome import Outcome
from ._problem import Data, Parameters, Problem
from ._vmap import VmapEngine
from ._vmap_check import vmap_fault

EngineName = Literal["auto", "loop", "vmap"]
ENGINES = get_args(EngineName)
FEWEST_FOR_VMAP = 8
"""Number of episodes of equal shapes from which `vmap` is faster than the loop."""


class Adapting:
    """Adapts one task to episodes: with `vmap` where that is faster and correct, otherwise one after another.

    Args:
        learner: The task; see `Problem`.
        rule: The algorithm that adapts its parameters to a support.
        engine: "loop", "vmap", or "auto". "auto" uses `vmap` for 8 or more episodes of equal shapes if a check on two of them, in
            double precision, gives the same result as the loop; but not for convolutions on the CPU, which do not gain by it.
        chunk: How many episodes `vmap` adapts to at a time. Default: all of equal shapes.
        compiled: Whether to compile the `vmap` engine.
        norm: How layers with running statistics normalise within an episode.
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
        self._has_convolutions = any(isinstance(layer, _ConvNd) for layer in learner.modules())
        """On the CPU, convolutions are slower when each episode has kernels of its own."""
        self.parameters = dict(learner.named_parameters())
        self._vmap = VmapEngine(self.problem, rule, compiled=compiled)
        self._vmap_is_correct: dict[tuple[bool, bool], bool] = {}
        """Result of the check of `vmap`, by (training, first order)."""

    def trained(self) -> Parameters:
        """Return the parameters that are trained."""
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
            episodes: Support and query with a leading axis; or a list of single episodes, which may differ in shape.
            training: Whether to compute gradients.
            every: Whether to return the query's losses and predictions before the first step and after each step.
            steps: Number of steps. Default: that of the rule.

        Returns:
            An outcome for each shape of episodes.
        """
        groups = [episodes] if isinstance(episodes, tuple) else stacked(episodes)
        if training and self.rule.joins_query:
            groups = [_with_query_in_support(group) for group in groups]
        with self._settings(training, self.rule.count(training, steps)):
            groups = pytree.tree_map(_out_of_inference_mode, groups)
            return [self._run(group, training, every, steps) for group in groups]

    def keep(self, support: Data, steps: int | None = None) -> None:
        """Adapt to one support, and store the result in the learner: its parameters, and the statistics of batch norms.

        Args:
            support: The examples.
            steps: Number of steps. Default: that of the rule.

        Raises:
            ValueError: The parameters diverge.
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
                    with problem.norms.recording():
                        problem.support(now, support)
                    problem.norms.write_running_statistics()
                for name, value in now.items():
                    self.parameters[name].copy_(value)

    def _run(self, episodes: Episode, training: bool, every: bool, steps: int | None) -> Outcome:
        parameters, learned = self.trained(), self.rule.learned()
        wanted = [name for name in parameters if not self.rule.replaces(name)]
        if self._uses_vmap(parameters, wanted, episodes, training):
            with _explaining_vmap_errors():
                return self._vmap(
                    parameters, wanted, learned, episodes, training=training, every=every, steps=steps, chunk=self.chunk
                )
        each, problem, rule = singles(episodes), self.problem, self.rule
        return run_loop(problem, rule, parameters, wanted, learned, each, training=training, every=every, steps=steps)

    def _uses_vmap(self, parameters: Parameters, wanted: Sequence[str], episodes: Episode, training: bool) -> bool:
        if self.problem.norms.layers and not self.rule.count(training):
            return False  # running statistics change with each episode, so their order matters
        if self.engine != "auto":
            return self.engine == "vmap"
        if len(episodes[0]["target"]) < FEWEST_FOR_VMAP or (self._has_convolutions and episodes[0]["target"].is_cpu):
            return False
        key = training, self.rule.first_order
        if key not in self._vmap_is_correct:
            learned = self.rule.learned()
            fault = vmap_fault(self.problem, self.rule, parameters, wanted, learned, episodes, training=training)
            self._vmap_is_correct[key] = fault is None
            if fault is not None:
                warnings.warn(
                    f"Episodes are adapted to one after another: together, {fault}. Give engine='loop' to avoid this check.",
                    stacklevel=2,
                )
        return self._vmap_is_correct[key]

    @contextmanager
    def _settings(self, training: bool, steps: int) -> Iterator[None]:
        """Enable gradients, also through attention, and normalise by the statistics of the episode."""
        fast_path = torch.backends.mha.get_fastpath_enabled()
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            if steps:  # without a step, this is ordinary training
                stack.enter_context(self.problem.norms.replacing_forwards())
            if self.engine != "loop" or (training and not self.rule.first_order):
                # Fused attention has no second derivative, and no batching rule.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            torch.backends.mha.set_fastpath_enabled(False)
            stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
            yield


@contextmanager
def _explaining_vmap_errors() -> Iterator[None]:
    """Add a note to errors that `vmap` is used here, because most error messages do not say so."""
    try:
        yield
    except Exception as error:
        error.add_note(
            "Episodes were adapted to together, by `vmap`, which some layers (e.g. nn.GRU) do not support. Give engine='loop' to adapt to one "
            "after another, or leave `engine` out to have it chosen."
        )
        raise


def _out_of_inference_mode(x: Tensor) -> Tensor:
    """Return a tensor that autograd can save, because it cannot save those of inference mode."""
    return x.clone() if x.is_inference() else x


def _with_query_in_support(episodes: Episode) -> Episode:
    """Append the query to the support."""
    support, query = episodes
    appended = dict(query)
    if "rows" in appended:  # numbers of words, which now follow those of the support
        appended["rows"] = appended["rows"] + support["target"][0].numel()
    return pytree.tree_map(lambda a, b: torch.cat([a, b], 1), dict(support), appended), query
