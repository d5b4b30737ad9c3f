"""Predictions of a module for raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import torch
from lightning.fabric.utilities import move_data_to_device

from .._checks import require_number
from ..callbacks import evaluating
from ..inputs import WORDS, Inputs, refuse_not_finite
from ..task import in_precision, precision_of
from ._readable import Answer, batches, listed, readable

if TYPE_CHECKING:
    from ._multi_task import MultiTaskModule


def predict(module: MultiTaskModule, rows: Any, tasks: Sequence[str] | None = None, *, batch_size: int = 64) -> Any:
    """Predict for raw rows, without a data module, a Trainer or target columns.

    It runs on the device of the model, in evaluation mode, in batches of rows of similar length.

    Args:
        module: The module.
        rows: A mapping {column: value}, or a text where the model reads one; or many: a list of these, a DataFrame, a
            `datasets.Dataset`. Columns may be in any order; other columns are ignored.
        tasks: Names of the tasks to predict. Default: all of them.
        batch_size: Rows that are run together.

    Returns:
        For each row {task: answer}; for a single row not in a list. Answers are
        {"label", "probability", "probabilities"} for one class of several,
        {"labels", "probabilities"} for any number of labels,
        {"value"} or {"values"} for numbers, {"words", "tags", "probabilities", "spans"} for labels of words, and
        {"words", "heads", "probabilities"} for the words that words depend on; words beyond those that the
        encoder reads get None.

    Raises:
        ValueError: A row lacks a column or has a value that does not fit, with row and column; or the model has not
            been given its data yet.

    Example:
        >>> from lightning_mtl import BagOfWords, HardSharing, MultiTaskDataModule, MultiTaskModule, Source, Task
        >>> import lightning as L
        >>> rows = [{"text": "good", "mood": "happy"}, {"text": "bad", "mood": "sad"}] * 20
        >>> module = MultiTaskModule([Task("mood")], HardSharing(BagOfWords()))
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> trainer = L.Trainer(max_epochs=40, enable_model_summary=False, accelerator="cpu", **quiet)
        >>> data = MultiTaskDataModule({"texts": Source(rows, text="text")}, batch_size=8, summary=False)
        >>> trainer.fit(module, data)
        >>> module.predict("so good")["mood"]["label"]
        'happy'
    """
    wanted = module.numbers_of(tasks)
    require_number("batch_size", batch_size, "64 is the default.", at_least=1, whole=True)
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
    present = rows.column_names if isinstance(rows, datasets.Dataset) else rows[0] if len(rows) else {}
    if isinstance(present, str) or not inputs.columns or not any(name not in present for name in inputs.columns):
        return
    columns = {i: module.inputs[read].columns for i, read in reads.items()}
    fits = [module.tasks[i].name for i, of in columns.items() if of and all(name in present for name in of)]
    if fits:
        raise ValueError(
            f"`tasks` must be those whose source has the columns of the rows, got columns {list(present)}, which {source!r} does not "
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
        hidden = module.hidden_columns(readers)
        refuse_not_finite({name: of for name, of in batch.items() if name not in hidden}, "row", numbers)
        batch = move_data_to_device(batch, module.device)
        read = {name: column for name, column in batch.items() if name not in hidden}
        columns = in_precision(read, precision_of(module.encoder))
        for i, prediction in zip(readers, module.head_outputs(columns, readers, batch.get(WORDS)), strict=True):
            task = module.tasks[i]
            for number, answer in zip(numbers, readable(task.known_head(), prediction, batch), strict=True):
                answers[number][task.name] = answer
