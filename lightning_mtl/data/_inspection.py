"""What the data say before training: labels, classes, duplicates, and whatever is wrong with them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from torch import Tensor

from .._table import table
from ..heads import Head
from ..inputs import label_values
from ..samplers import MultiTaskSampler
from ..task import ROWS, Task
from ._examples import Examples

SCAN = 10_000
"""Rows that are looked at where a dataset has no columns to read at once."""


@dataclass
class Labels:
    """What one split of a source holds for one task.

    Args:
        rows: Rows of the split.
        seen: Rows that were looked at.
        labelled: Rows of these that have a label.
        classes: Different labels, for heads of one class per row; else none.
        majority: Share of the most frequent label, likewise.
    """

    rows: int
    seen: int
    labelled: int
    classes: int | None = None
    majority: float | None = None


def labels_of(task: Task, examples: Examples, where: str) -> Labels:
    """Read a task's labels, and count them.

    Raises:
        ValueError: A label out of the head's range, with source, split, row and value.
    """
    columns = _labelled(task, examples, where)
    values: Tensor = columns[task.column]
    rows = columns.get(ROWS, {}).get(task.name)
    head = task.known_head()
    known = _known(values, rows, head)
    labelled = int((values >= 0).any(1).sum()) if head.per_position else len(known)
    found = Labels(len(examples), len(values), labelled)
    if not (head.dtype.is_floating_point or head.points) and known.ndim == 1 and len(known):
        counts = torch.bincount(known)
        found.classes = int((counts > 0).sum())
        found.majority = counts.max().item() / len(known)
    return found


def known_labels(task: Task, examples: Examples, where: str) -> Tensor:
    """Read the labels that are there, in the head's form: [labels], [labels, outputs], or those of words, [words]."""
    columns = _labelled(task, examples, where, len(examples))
    return _known(columns[task.column], columns.get(ROWS, {}).get(task.name), task.known_head())


def _labelled(task: Task, examples: Examples, where: str, most: int = SCAN) -> dict[str, Any]:
    columns: dict[str, Any] = _columns(examples, task.columns, most)
    task.label(columns, where)
    return columns


def _known(values: Tensor, rows: Tensor | None, head: Head) -> Tensor:
    values = values.flatten() if head.per_position else values
    return values if rows is None else values[rows]


def refuse_bad_inputs(examples: Examples, where: str, vocabulary: int | None) -> None:
    """Look for inputs that are no numbers, and for tokens that the encoder does not know.

    Args:
        examples: Rows, of which the first ones are read; of texts that were tokenized once all are looked at.
        where: What they are called in error messages.
        vocabulary: How many tokens the encoder knows. Default: it does not say.

    Raises:
        ValueError: An input is NaN, with source, split, row and column; or a token's number is beyond the encoder's
            embeddings.
    """
    _refuse_token(examples.largest_token(), vocabulary, where)
    rows = min(SCAN, len(examples))
    for start in range(0, rows, 1000):
        batch = _read(examples, range(start, min(start + 1000, rows)), where)
        _refuse_nan({name: of for name, of in batch.items() if name not in (examples.targets or ())}, where, start)
        if examples.tokenizes and isinstance(tokens := batch.get("input_ids"), Tensor) and tokens.numel():
            _refuse_token(int(tokens.max()), vocabulary, where)


def _read(examples: Examples, rows: range, where: str) -> dict[str, Any]:
    try:
        return examples[list(rows)]
    except ValueError as error:
        raise ValueError(f"S{where.removesuffix(', row')[1:]}: {error}") from error


def _refuse_nan(columns: Mapping[str, Any], where: str, start: int) -> None:
    for name, column in columns.items():
        if not isinstance(column, Tensor) or not column.is_floating_point():
            continue
        bad = column.isnan().nonzero()
        if len(bad):
            row = bad[0].tolist()[0]
            raise ValueError(
                f"Inputs must be numbers: {where} {start + row}, column {name!r} is NaN. Fill it or drop the row, e.g. "
                "with `datasets.Dataset.filter`."
            )


def _refuse_token(largest: int | None, vocabulary: int | None, where: str) -> None:
    if vocabulary is not None and largest is not None and largest >= vocabulary:
        raise ValueError(
            f"The tokenizer must fit the encoder, which knows the tokens 0 to {vocabulary - 1}; of {where.removesuffix(', row')} "
            f"it makes token {largest}. Use the encoder's own tokenizer: leave out `tokenizer`."
        )


def refuse_uneven(words: Sequence[Any], tags: Sequence[Any], task: Task, where: str) -> None:
    """Look whether each row has a label for each word.

    Raises:
        ValueError: A row has more or fewer, with its number.
    """
    for row, (of, labels) in enumerate(zip(words, tags, strict=True)):
        if labels is not None and len(labels) != len(of):
            raise ValueError(
                f"Task {task.name!r} must have a label for each word: {where} {row} has {len(of)} words and {len(labels)} labels "
                f"in column {task.column!r}. Mend or drop the row; None in place of a label means that it is unknown."
            )


def warn_of_copies(train: Examples, other: Examples, name: str, split: str) -> None:
    """Warn where rows of a split stand in the training split too."""
    known = set(_keys(train))
    copies = sum(key in known for key in _keys(other))
    if copies:
        warnings.warn(
            f"Source {name!r}: {copies} of {len(other)} rows of split {split!r} have the same inputs as rows of 'train'. "
            "Split by content, or drop the copies, for scores that mean something.",
            stacklevel=2,
        )


def task_table(
    tasks: Mapping[str, Sequence[Task]],
    labels: Mapping[str, Mapping[str, Labels]],
    sampler: MultiTaskSampler,
    streams: Collection[str],
) -> str:
    """Lay out what the data hold for each task, and how many labelled rows an epoch draws of it.

    Args:
        tasks: The tasks that read each source.
        labels: For each split what it holds for each task.
        sampler: What plans the steps of training.
        streams: Sources that are read as streams, of whose training split only a part was looked at.
    """
    rows = []
    draws = sampler.epoch_draws(sampler.epoch_rates())
    for name, readers in tasks.items():
        for task in readers:
            of, held_out = labels["train"][task.name], labels.get("validation", {}).get(task.name)
            rows.append(
                [
                    task.name,
                    name,
                    type(task.head).__name__,
                    "stream" if name in streams else f"{of.rows:,}",
                    "-" if held_out is None else f"{held_out.rows:,}",
                    "-" if of.classes is None else str(of.classes),
                    "-" if of.majority is None else f"{of.majority:.1%}",
                    f"{of.labelled / of.seen:.1%}" + ("" if of.seen == of.rows else f" of {of.seen:,}"),
                    f"{round(draws[name] * of.labelled / of.seen):,}",
                ]
            )
    header = ("task", "source", "head", "train", "validation", "classes", "majority", "labelled", "draws/epoch")
    return table(header, rows)


def _columns(examples: Examples, targets: Sequence[str], most: int) -> dict[str, Any]:
    if isinstance(examples.rows, datasets.Dataset) and examples.inputs.whole is None:
        rows = examples.rows.select_columns(list(targets))[:]
        return {target: label_values(list(rows[target])) for target in targets}
    seen = min(len(examples), most)
    batches = [examples[list(range(i, min(i + 1000, seen)))] for i in range(0, seen, 1000)]
    columns: dict[str, Any] = {}
    for target in targets:
        parts = [batch[target] for batch in batches]
        whole = all(isinstance(part, Tensor) for part in parts)
        columns[target] = torch.cat(parts) if whole else [value for part in parts for value in part]
    return columns


def _keys(examples: Examples) -> list[Any]:
    hidden = set(examples.targets or ())
    if not isinstance(examples.rows, datasets.Dataset) or examples.inputs.whole is not None:
        columns: Mapping[str, Any] = examples[list(range(min(len(examples), SCAN)))]
    else:
        names = [name for name in examples.rows.column_names if name not in hidden]
        columns = examples.rows.select_columns(names)[: None if examples.inputs.once else SCAN] if names else {}
    values = [column for name, column in columns.items() if name not in hidden]
    return [tuple(_key(value) for value in row) for row in zip(*values, strict=True)]


def _key(value: Any) -> Any:
    return value.numpy().tobytes() if isinstance(value, Tensor) else repr(value)
