"""Label values as the numbers that a head learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..heads import Head
from ..inputs import missing

RefuseLabel = Callable[[int, Any], NoReturn]
"""Raises the error for a bad label, from its row and value."""


def as_numbers(target: Any, head: Head, refuse: RefuseLabel) -> Any:
    """Turn labels that are values into class numbers: texts, lists of texts, or whole numbers that the head has as names.

    Args:
        target: A tensor, a list of values, or a list of lists.
        head: The head that learns from them, with `names` where labels are values.
        refuse: Called with the row and value of a label that the head does not know.

    Returns:
        A tensor, [batch, ...], with -100 for missing labels; values that have no numbers are returned as they are.
    """
    names: Sequence[Any] | None = getattr(head, "names", None)
    if isinstance(target, Tensor) and (unlabelled := _unlabelled(target, head)) is not None:
        return unlabelled
    if isinstance(target, Tensor):
        return _renumbered(target, names, refuse) if names and not head.label_shape else target
    numbers = {name: number for number, name in enumerate(names or ())}
    if any(isinstance(value, list) for value in target):
        return _lists_as_numbers(target, head, numbers, refuse)
    if not names or not all(missing(value) or isinstance(value, str) for value in target):
        return target
    return torch.tensor([_number(value, numbers, row, refuse) for row, value in enumerate(target)], dtype=torch.long)


def at_word_starts(target: Tensor, words: Tensor, refuse: RefuseLabel) -> Tensor:
    """Move the labels of words, [batch, words], to the positions where the words start, [batch, length]; -100 elsewhere."""
    longest = int(words.max()) + 1 if words.numel() else 0
    if longest > target.shape[1]:
        short = (words.amax(1) >= target.shape[1]) & (target >= 0).any(1)  # rows without any label may be longer
        if short.any():
            row = int(short.nonzero()[0])
            refuse(row, f"at most {target.shape[1]} labels for {int(words[row].max()) + 1} words")
    padded = pad(target, (0, max(longest, 1, target.shape[1]) - target.shape[1]), value=-100)
    return padded.gather(1, words.clamp(min=0)).masked_fill(words < 0, -100)


def label_counts(given: Any, target: Tensor) -> Tensor:
    """Return how many labels each row was given, without padding."""
    if isinstance(given, Tensor):
        return torch.full((len(target),), target.shape[1])
    return torch.tensor([0 if value is None else len(value) for value in given], dtype=torch.long)


def _unlabelled(target: Tensor, head: Head) -> Tensor | None:
    """Return missing labels in the head's form for a batch without any label whose labels are lists; None for other batches."""
    size = (1,) if head.per_position else head.label_shape
    if not size or target.ndim > 1 or not target.is_floating_point() or not target.isnan().all():
        return None
    return target.new_full((len(target), *size), torch.nan if head.dtype.is_floating_point else -100)


def _lists_as_numbers(target: Sequence[Any], head: Head, numbers: Mapping[Any, int], refuse: RefuseLabel) -> Tensor:
    rows = [[] if value is None else list(value) for value in target]
    named = [isinstance(value, str) for row in rows for value in row]
    empty = bool(numbers) and head.kind == "multilabel" and not named  # no label applies to any row of this batch
    if not head.per_position and (any(named) or empty):  # a row lists the names of the labels that apply
        made = torch.zeros(len(rows), head.outputs, dtype=torch.long)
        for row, values in enumerate(rows):
            made[row] = -100 if target[row] is None else 0
            for value in values:
                made[row, _number(value, numbers, row, refuse)] = 1
        return made
    longest = max(map(len, rows), default=0)
    if not head.per_position and any(
        len(row) < longest for row, value in zip(rows, target, strict=True) if value is not None
    ):
        row = next(i for i, value in enumerate(target) if value is not None and len(value) < longest)
        refuse(row, target[row])
    padding = math.nan if head.dtype.is_floating_point else -100
    padded = [
        [padding if missing(value) else _number(value, numbers, row, refuse) for value in values]
        + [padding] * (longest - len(values))
        for row, values in enumerate(rows)
    ]
    return torch.tensor(padded, dtype=torch.long if head.per_position else torch.float64).reshape(len(rows), longest)


def _number(value: Any, numbers: Mapping[Any, int], row: int, refuse: RefuseLabel) -> Any:
    """Return the number of a named class, -100 for a missing label; numbers are returned as they are."""
    if missing(value):
        return -100
    if value in numbers:
        return numbers[value]
    if isinstance(value, str):
        refuse(row, value)
    return value


def _renumbered(target: Tensor, names: Sequence[Any], refuse: RefuseLabel) -> Tensor:
    """Turn whole numbers that are names of classes, such as 1 to 5, into class numbers."""
    if not all(type(name) is int for name in names) or list(names) == list(range(len(names))):
        return target
    values = target.nan_to_num(nan=-100.0).long() if target.is_floating_point() else target.long()
    known = torch.tensor(names)
    order = known.argsort()
    places = torch.searchsorted(known[order].contiguous(), values.contiguous()).clamp(max=len(names) - 1)
    found = order[places]
    wrong = ((known[found] != values) | (values != target.nan_to_num(nan=-100.0))) & (values != -100)
    if wrong.any():
        first = wrong.nonzero()[0].tolist()
        refuse(first[0], target[tuple(first)].item())
    return found.masked_fill(values == -100, -100)
