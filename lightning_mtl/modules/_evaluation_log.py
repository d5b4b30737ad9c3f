"""How the results of an evaluation are logged."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn

from .._distributed import world_size
from .._lightning import retract
from ._evaluation import Evaluation


def log_evaluation(module: Any, evaluation: Evaluation, stage: str) -> None:
    """Log the losses, metrics and score of a split, and warn of what is left out.

    Args:
        module: The module whose Trainer evaluates.
        evaluation: What it has added up.
        stage: "validate" or "test".
    """
    trainer = module.trainer
    values, score = evaluation.finish(stage, module.device)
    if trainer.sanity_checking:
        evaluation.start_run()
    else:
        evaluation.warn_left_out(stage, module.routing)
    if trainer.barebones:
        return
    if score is None and trainer.state.fn == TrainerFn.FITTING and evaluation.has_scores:
        score = math.nan  # else a callback that monitors it would end training
    shown = set(values) if score is None else {*values, f"{stage}/score"}
    retract(trainer, evaluation.logged.get(stage, set()) - shown)  # Lightning keeps what is not defined any more
    evaluation.logged[stage] = shown
    synced = world_size() > 1  # the values are equal on all ranks already; this says so to Lightning
    module.log_dict(values, sync_dist=synced)
    if score is not None:
        module.log(f"{stage}/score", score, prog_bar=True, sync_dist=synced)
