"""Raw rows as batches, and the output of heads as readable answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import datasets
import pandas as pd
from torch import Tensor

from ..heads import Head, at_least_float32
from ..inputs import RAW, WORDS, Columns, Inputs

Answer = dict[str, Any]
"""The prediction for one row and task, e.g. {"label": "positive", "probability": 0.9, "probabilities": {...}}."""
WINDOW = 64
"""Batches that are prepared, and sorted by length, at a time."""


def readable(head: Head, prediction: Tensor, columns: Mapping[str, Any]) -> list[Answer]:
    """Turn a head's output for a batch with these columns into answers, one for each row."""
    answers = head.answers(head.predict(at_least_float32(prediction.detach())), columns.get(WORDS))
    if RAW in columns and head.per_position:
        return [_with_words(answer, words) for answer, words in zip(answers, columns[RAW], strict=True)]
    return answers


def _with_words(answer: Answer, words: Sequence[str]) -> Answer:
    gaps = {
        name: [None] * (len(words) - len(values)) for name, values in answer.items()
    }  # beyond what the encoder reads
    padded = {"words": list(words), **{name: [*values, *gaps[name]] for name, values in answer.items()}}
    return {**padded, "spans": _spans(padded["tags"], words)} if "tags" in padded else padded


def _spans(tags: Sequence[Any], words: Sequence[str]) -> list[dict[str, Any]]:
    """Return the spans of IOB tags, e.g. {"type": "PER", "start": 0, "end": 2, "text": "Ada Lovelace"}; `end` is exclusive."""
    spans: list[dict[str, Any]] = []
    before = None
    for place, tag in enumerate(tags):
        mark, _, kind = tag.partition("-") if isinstance(tag, str) else ("", "", "")
        if mark == "I" and spans and before == kind:
            spans[-1] |= {"end": place + 1, "text": f"{spans[-1]['text']} {words[place]}"}
        elif mark in ("B", "I"):
            spans.append({"type": kind, "start": place, "end": place + 1, "text": words[place]})
        before = kind if mark in ("B", "I") else None
    return spans


def listed(rows: Any) -> tuple[Any, bool]:
    """Return rows as a sequence, and whether they were a single row.

    Raises:
        TypeError: They are not rows.
    """
    if isinstance(rows, str | Mapping):
        return [rows], True
    if isinstance(rows, pd.DataFrame):
        rows = datasets.Dataset.from_pandas(rows, preserve_index=False)
    if not isinstance(rows, datasets.Dataset | list | tuple):
        raise TypeError(
            f"`rows` must be a text, a mapping, a list of these, a DataFrame or a `datasets.Dataset`, got {type(rows).__name__}. "
            "Convert it."
        )
    return rows, False


def batches(rows: Any, inputs: Inputs, size: int) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Yield batches of rows of similar length: their numbers, and their tensors.

    Raises:
        ValueError: A row lacks a column, or has a value that does not fit.
    """
    for start in range(0, len(rows), WINDOW * size):
        window = range(start, min(start + WINDOW * size, len(rows)))
        if inputs.whole is not None:
            for first in range(window.start, window.stop, size):
                numbers = list(window[first - start : first - start + size])
                batch = inputs.whole([rows[i] for i in numbers])
                yield numbers, {name: column for name, column in batch.items() if name not in inputs.leave_out}
            continue
        columns = inputs.read(rows, window)
        prepared = inputs.prepare(columns, window)
        places = sorted(range(len(window)), key=_length(prepared), reverse=True)
        for first in range(0, len(places), size):
            picked = places[first : first + size]
            batch = inputs.collate(prepared, picked)
            if inputs.words is not None:
                batch[RAW] = [columns[inputs.words][i] for i in picked]
            yield [window[i] for i in picked], batch


def _length(prepared: Sequence[Columns]) -> Callable[[int], int]:
    tokens = next((columns["input_ids"] for columns in prepared if "input_ids" in columns), None)
    return (lambda place: 0) if tokens is None else (lambda place: len(tokens[place]))
