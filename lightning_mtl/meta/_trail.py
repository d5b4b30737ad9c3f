"""The results of adapting to episodes, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from ..adaptation import Outcome
from ..callbacks import evaluating
from ..task import Batch, Task

if TYPE_CHECKING:
    from ._module import MetaLearningModule


@dataclass(frozen=True)
class Trail:
    """The results of adapting to episodes, step by step.

    Args:
        losses: The query's loss before the first step and after each, [steps + 1, episodes].
        predictions: Predictions for the query, [steps + 1, episodes, rows, ...]: probabilities, or values.
        target: The query's labels, [episodes, rows, ...].
    """

    losses: Tensor
    predictions: Tensor
    target: Tensor


def by_step(module: MetaLearningModule, batch: Batch, steps: int | None = None) -> dict[str, Trail]:
    """Adapt to episodes in evaluation mode, and return losses and predictions of the query before the first step and after each.

    Args:
        module: The module.
        batch: Episodes of equal sizes.
        steps: How many inner steps to take. Default: those of the adaptation in evaluation.

    Raises:
        ValueError: The episodes are of different sizes.
    """
    trails = {}
    with evaluating(module):
        for i, episodes in module.episodes(move_data_to_device(batch, module.device)):
            outcomes = module.adapter(i)(episodes, training=False, every=True, steps=steps)
            if len(outcomes) != 1:
                raise ValueError(
                    f"`batch` must hold episodes of equal sizes, to be followed step by step, got {len(outcomes)} sizes. Give one after another."
                )
            trails[module.tasks[i].name] = _trail(module.tasks[i], outcomes[0])
    return trails


def _trail(task: Task, outcome: Outcome) -> Trail:
    answer = outcome.joined()
    prediction: Tensor = answer["prediction"]
    flat = task.known_head().predict(prediction.flatten(0, 2))
    read = flat.reshape(*prediction.shape[:3], *flat.shape[1:])
    target: Tensor = (
        task.known_head().decode(answer["target"][:, 0].flatten(0, 1)).reshape(answer["target"][:, 0].shape)
    )
    return Trail(torch.cat(outcome.losses).T, read.transpose(0, 1), target)
