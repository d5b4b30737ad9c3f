"""A comparison of methods that learn a new task from a few examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import require_number
from .._pictures import as_text, plain_text
from .._table import table
from ..comparison import t_quantile
from ..writing import whole_file, write_csv
from ._datamodule import EpisodeDataModule
from ._module import MetaLearningModule
from ._trail import Trail

_DIVERGED = 10
"""An episode has diverged if its loss is more than so many times the mean loss before the first step."""


@dataclass(frozen=True)
class EpisodeScores:
    """The scores of a method on test episodes.

    Args:
        metric: "accuracy", or "loss".
        seeds: For each seed the metric before the first step and after each step, [steps + 1, episodes].
    """

    metric: str
    seeds: Sequence[Float[Tensor, "steps episodes"]]

    @property
    def steps(self) -> int:
        """The number of inner steps."""
        return len(self.seeds[0]) - 1

    def diverged(self, step: int) -> float:
        """Return the share of the episodes that have diverged after a step: their loss is not finite, or very large."""
        return 1 - fmean(kept.float().mean().item() for kept in self._kept(step))

    def mean(self, step: int) -> float:
        """Return the mean over episodes and seeds after a step; of losses, over the episodes that have not diverged."""
        return fmean(self._means(step))

    def over_episodes(self, step: int) -> float:
        """Return half of the 95% confidence interval of the mean, for other episodes of the same seeds."""
        parts = [values[step][kept] for values, kept in zip(self.seeds, self._kept(step), strict=True)]
        errors = [(of.var(correction=1) / len(of)).item() for of in parts if len(of) > 1]
        return float(1.96 * sum(errors) ** 0.5 / len(self.seeds))

    def over_seeds(self, step: int) -> float | None:
        """Return half of the 95% confidence interval (Student's t) over seeds, each with training and test episodes of its own; None for one seed."""
        means = self._means(step)
        if len(means) < 2:
            return None
        return float(t_quantile(len(means) - 1) * stdev(means) / len(means) ** 0.5)

    def _means(self, step: int) -> list[float]:
        return [values[step][kept].mean().item() for values, kept in zip(self.seeds, self._kept(step), strict=True)]

    def _kept(self, step: int) -> list[Tensor]:
        losses = self.metric == "loss"
        limits = [_DIVERGED * values[0].mean().item() if losses else float("inf") for values in self.seeds]
        return [values[step] <= limit for values, limit in zip(self.seeds, limits, strict=True)]

    def summary(self, step: int) -> str:
        """Write the mean after a step, with its intervals over episodes and over seeds."""
        text = f"{self.mean(step):.3f} ±{self.over_episodes(step):.3f}"
        seeds = self.over_seeds(step)
        text += "" if seeds is None else f" ±{seeds:.3f}"
        share = self.diverged(step)
        return f"{text} ({share:.1%} diverged)" if share else text


@dataclass(frozen=True)
class FewShotComparison:
    """The scores of methods in several settings, e.g. numbers of shots.

    Args:
        scores: {setting: {method: its scores}}.
        shown: Inner steps whose results are in the table; a method with fewer steps has "-" there.
        published: {setting: {method: the result that a paper reports}}.
    """

    scores: Mapping[str, Mapping[str, EpisodeScores]]
    shown: Sequence[int]
    published: Mapping[str, Mapping[str, str]]

    @property
    def tasks(self) -> list[str]:
        """Names of the settings."""
        return list(self.scores)

    def __str__(self) -> str:
        metric = next(iter(next(iter(self.scores.values())).values())).metric
        blocks = []
        for setting, methods in self.scores.items():
            published = self.published.get(setting, {})
            header = [setting, *(_step_name(step) for step in self.shown), *(["published"] if published else [])]
            rows = [
                [
                    name,
                    *(of.summary(step) if step <= of.steps else "-" for step in self.shown),
                    *([published.get(name, "-")] if published else []),
                ]
                for name, of in methods.items()
            ]
            blocks.append(table(header, rows))
        return (
            f"{metric} of test episodes, ± half of the 95% interval over episodes (and over seeds)\n\n"
            + "\n\n".join(blocks)
        )

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each setting, method, seed and step; the file is whole at any time."""
        rows: list[Sequence[Any]] = [("setting", "method", "seed", "step", "metric", "mean", "median", "episodes")]
        for setting, methods in self.scores.items():
            for method, of in methods.items():
                for seed, values in enumerate(of.seeds):
                    for step, row in enumerate(values):
                        mean, median = row.mean().item(), row.median().item()
                        rows.append((setting, method, seed, step, of.metric, mean, median, len(row)))
        write_csv(path, rows)

    def plot(self, path: str | Path) -> None:
        """Draw the metric by inner step, a panel for each setting. Needs the extra `recipes`.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        with plain_text():
            from matplotlib.figure import Figure

            figure = Figure(figsize=(4.5 * len(self.scores), 3.5), layout="constrained")
            axes = figure.subplots(1, len(self.scores), squeeze=False)[0]
            for panel, (setting, methods) in zip(axes, self.scores.items(), strict=True):
                for method, of in methods.items():
                    means = [of.mean(step) for step in range(of.steps + 1)]
                    marker = "o" if of.steps < 12 else None
                    panel.plot(range(of.steps + 1), means, marker=marker, label=as_text(method))
                panel.set(title=as_text(setting), xlabel="inner steps", ylabel=next(iter(methods.values())).metric)
            axes[-1].legend()
            with whole_file(path) as part:
                figure.savefig(part)


def score_episodes(
    module: MetaLearningModule, data: EpisodeDataModule, steps: int | None = None, batches: int | None = None
) -> Tensor:
    """Adapt to all test episodes, and return the metric before the first inner step and after each.

    Args:
        module: The module, with one task.
        data: The data.
        steps: How many inner steps to take. Default: those of the module's adaptation.
        batches: How many batches of episodes to take at most. Default: all.

    Returns:
        Accuracy of each episode where its labels are classes, else its loss, [steps + 1, episodes].
    """
    remedy = "Leave it out for those of the adaptation."
    require_number("steps", steps, remedy, at_least=0, whole=True, optional=True)
    require_number("batches", batches, "Leave it out for all.", at_least=1, whole=True, optional=True)
    data.setup_for(module)
    parts = []
    for batch in islice(data.test_dataloader(), batches):
        (trail,) = module.by_step(batch, steps).values()
        parts.append(accuracy(trail) if module.tasks[0].known_head().kind == "multiclass" else trail.losses)
    return torch.cat(parts, 1).cpu()


def accuracy(trail: Trail) -> Tensor:
    """Return the share of query rows whose most probable class is right, [steps + 1, episodes]."""
    return (trail.predictions.argmax(-1) == trail.target).float().mean(-1)


def _step_name(step: int) -> str:
    return "before" if step == 0 else f"{step} step{'s' * (step > 1)}"
