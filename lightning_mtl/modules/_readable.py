"""Rows as a user has them, and predictions as a user reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import datasets
import pandas as pd
from torch import Tensor

from ..heads import Head
from ..inputs import RAW, WORDS, Columns, Inputs

Answer = dict[str, Any]
"""What is predicted for one row and task, e.g. {"label": "positive", "probability": 0.9, "probabilities": {...}}."""
WINDOW = 64
"""Batches that are prepared, and sorted by length, at a time."""


def readable(head: Head, prediction: Tensor, columns: Mapping[str, Any]) -> list[Answer]:
    """Make plain answers, one for each row, of a head's output for a batch with these columns."""
    answers = head.answers(head.predict(prediction.detach()), columns.get(WORDS))
    if RAW in columns and head.per_position:
        return [_with_words(answer, words) for answer, words in zip(answers, columns[RAW], strict=True)]
    return answers


def _with_words(answer: Answer, words: Sequence[str]) -> Answer:
    gaps = {
        name: [None] * (len(words) - len(values)) for name, values in answer.items()
    }  # beyond what the encoder reads
    told = {"words": list(words), **{name: [*values, *gaps[name]] for name, values in answer.items()}}
    return {**told, "spans": _spans(told["tags"], words)} if "tags" in told else told


def _spans(tags: Sequence[Any], words: Sequence[str]) -> list[dict[str, Any]]:
    """List what IOB tags mark, e.g. {"type": "PER", "start": 0, "end": 2, "text": "Ada Lovelace"}; `end` is not in it."""
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
    """Make a sequence of a user's rows, and say whether it was a single one.

    Raises:
        TypeError: They are no rows.
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
    """Read rows in batches of similar length: their numbers, and their tensors.

    Raises:
        ValueError: A row lacks a column, or has a value that does not fit.
    """
    for start in range(0, len(rows), WINDOW * size):
        window = range(start, min(start + WINDOW * size, len(rows)))
        if inputs.whole is not None:
            for first in range(window.start, window.stop, size):
                numbers = list(window[first - start : first - start + size])
                made = inputs.whole([rows[i] for i in numbers])
                yield numbers, {name: column for name, column in made.items() if name not in inputs.leave_out}
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
    tokens = next((of["input_ids"] for of in prepared if "input_ids" in of), None)
    return (lambda place: 0) if tokens is None else (lambda place: len(tokens[place]))
