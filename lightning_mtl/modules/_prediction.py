"""Predictions of a module for rows of a user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import torch
from lightning.fabric.utilities import move_data_to_device

from ..callbacks import evaluating
from ..inputs import WORDS, Inputs
from ._readable import Answer, batches, listed, readable

if TYPE_CHECKING:
    from ._multi_task import MultiTaskModule


def predict(module: MultiTaskModule, rows: Any, tasks: Sequence[str] | None, batch_size: int) -> Any:
    """Predict for rows; see `MultiTaskModule.predict`."""
    wanted = module.numbers_of(tasks)
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    if not module.inputs:
        raise ValueError(
            "A model must know how rows become tensors to predict for them, and this one has not seen data yet. Fit it with "
            "`MultiTaskDataModule`, or load a trained one: MultiTaskModule.load_from_checkpoint(path)."
        )
    given, single = listed(rows)
    answers: list[dict[str, Answer]] = [{} for _ in range(len(given))]
    reads = {i: module.tasks[i].resolve(module.inputs) for i in sorted(wanted)}
    with evaluating(module), torch.inference_mode():
        for source, inputs in module.inputs.items():
            readers = [i for i, read in reads.items() if read == source]
            if readers:
                _refuse_other_rows(module, given, source, inputs, reads)
                _predict(module, given, inputs, readers, batch_size, answers)
    return answers[0] if single else answers


def _refuse_other_rows(
    module: MultiTaskModule, rows: Any, source: str, inputs: Inputs, reads: Mapping[int, str]
) -> None:
    """Check that the first row is not of a source that other tasks read.

    Raises:
        ValueError: It is.
    """
    there = rows.column_names if isinstance(rows, datasets.Dataset) else rows[0] if len(rows) else {}
    if isinstance(there, str) or not inputs.columns or not any(name not in there for name in inputs.columns):
        return
    columns = {i: module.inputs[read].columns for i, read in reads.items()}
    fits = [module.tasks[i].name for i, of in columns.items() if of and all(name in there for name in of)]
    if fits:
        raise ValueError(
            f"`tasks` must be those whose source has the columns of the rows, got columns {list(there)}, which {source!r} does not "
            f"read. Predict them alone: predict(rows, {fits})."
        )


def _predict(
    module: MultiTaskModule,
    rows: Any,
    inputs: Inputs,
    readers: Sequence[int],
    size: int,
    answers: list[dict[str, Answer]],
) -> None:
    for numbers, batch in batches(rows, inputs, size):
        batch = move_data_to_device(batch, module.device)
        hidden = module.hidden_columns(readers)
        columns = {name: column for name, column in batch.items() if name not in hidden}
        for i, prediction in zip(readers, module.predictions(columns, readers, batch.get(WORDS)), strict=True):
            task = module.tasks[i]
            for number, answer in zip(numbers, readable(task.known_head(), prediction, batch), strict=True):
                answers[number][task.name] = answer
