"""Scores of a module in the middle of its training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from .._lightning import placed
from .._random_state import unchanged_random_state
from ..callbacks import evaluating
from ..task import Batch

if TYPE_CHECKING:
    from ._base import TaskModule


def assess(module: TaskModule, batches: Iterable[Batch]) -> dict[str, float]:
    """Score the tasks on these batches without any effect on training; all ranks must call it together.

    Args:
        module: The module.
        batches: Batches of this rank, e.g. of `MultiTaskDataModule.probe`.

    Returns:
        The score of each task whose main metric is defined on at least two labelled examples, see `Task.score`; higher is better, and
        equal on all ranks.
    """
    evaluation, routing = module.task_evaluation, module.routing
    precision = module.trainer.precision_plugin.forward_context()
    with unchanged_random_state(), routing.no_task_left_out(), evaluating(module), torch.no_grad(), precision:
        gathered = evaluation.gather(batches, lambda batch: module.run(placed(module, batch)), module.device)
    scores = evaluation.scores_of(gathered)
    evaluation.warn_left_out("validate", routing)
    return scores
