"""Thresholds of yes-or-no decisions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from .._distributed import gather_objects
from ..callbacks import evaluating
from ..heads import at_least_float32
from ..inputs import refuse_not_finite
from ..task import ROWS, Batch, precision_of

if TYPE_CHECKING:
    from ._multi_task import MultiTaskModule


def tune_thresholds(module: MultiTaskModule, batches: Iterable[Batch]) -> dict[str, Any]:
    """Choose the threshold of `Binary` and `Multilabel` heads with the best F1.

    From now on `predict` and metrics use it, and checkpoints and folders keep it. For metrics, probabilities are
    transformed so that the threshold becomes 0.5.

    Args:
        module: The module.
        batches: Labelled batches, e.g. `data.val_dataloader()` after `fit`; each process gives its own part.

    Returns:
        The threshold (or thresholds) of each such task.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    precision = module.routing.reading_in(precision_of(module.encoder))
    with evaluating(module), torch.inference_mode(), precision:
        for batch in batches:
            labelled = module._label(batch)
            for source, columns in labelled.items():
                _refuse_bad_inputs(module, source, columns)
            for result in module.run(move_data_to_device(labelled, module.device)).results:
                task = module.tasks[result.task]
                prediction = task.known_head().predict(at_least_float32(result.prediction)).cpu()
                found.setdefault(task.name, []).append((prediction, result.target.cpu()))
    tuned = {}
    for task in module.tasks:
        parts = [pair for rank in gather_objects(found.get(task.name, [])) for pair in rank]
        head: Any = task.known_head()
        if parts and hasattr(head, "threshold"):
            head.tune(*(torch.cat(column) for column in zip(*parts, strict=True)))
            tuned[task.name] = head.learned().get("threshold", head.threshold)
    return tuned


def _refuse_bad_inputs(module: MultiTaskModule, source: str, columns: Any) -> None:
    if isinstance(columns, dict) and ROWS in columns:
        count = max((len(of) for of in columns.values() if isinstance(of, Tensor) and of.ndim), default=0)
        refuse_not_finite(module.routing.inputs(source, columns), f"in a batch of source {source!r}, row", range(count))
