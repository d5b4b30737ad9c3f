"""Label values as the numbers that a head learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..heads import Head
from ..inputs import missing

Refuse = Callable[[int, Any], NoReturn]
"""Raises the error for a label: its row, and its value."""


def as_numbers(target: Any, head: Head, refuse: Refuse) -> Any:
    """Number labels that are values: texts, lists of texts, or whole numbers that the head has as names.

    Args:
        target: A tensor, a list of values, or a list of lists.
        head: The head that learns them, with `names` where labels are values.
        refuse: Called with the row and value of a label that the head does not know.

    Returns:
        A tensor, [batch, ...], with -100 for labels that are missing; anything that cannot be numbered is returned as it is.
    """
    names: Sequence[Any] | None = getattr(head, "names", None)
    if isinstance(target, Tensor) and (none := _none(target, head)) is not None:
        return none
    if isinstance(target, Tensor):
        return _renumbered(target, names, refuse) if names and not head.label_shape else target
    codes = {name: number for number, name in enumerate(names or ())}
    if any(isinstance(value, list) for value in target):
        return _listed(target, head, codes, refuse)
    if not names or not all(missing(value) or isinstance(value, str) for value in target):
        return target
    return torch.tensor([_code(value, codes, row, refuse) for row, value in enumerate(target)], dtype=torch.long)


def at_word_starts(target: Tensor, words: Tensor, refuse: Refuse) -> Tensor:
    """Move the labels of words, [batch, words], to the positions where the words start, [batch, length]; -100 elsewhere."""
    longest = int(words.max()) + 1 if words.numel() else 0
    if longest > target.shape[1]:
        short = (words.amax(1) >= target.shape[1]) & (target >= 0).any(1)  # rows without any label may be longer
        if short.any():
            row = int(short.nonzero()[0])
            refuse(row, f"{target.shape[1]} labels at the most for {int(words[row].max()) + 1} words")
    wide = pad(target, (0, max(longest, 1, target.shape[1]) - target.shape[1]), value=-100)
    return wide.gather(1, words.clamp(min=0)).masked_fill(words < 0, -100)


def label_counts(given: Any, target: Tensor) -> Tensor:
    """Count the labels of each row as they were given, before shorter rows were filled up."""
    if isinstance(given, Tensor):
        return torch.full((len(target),), target.shape[1])
    return torch.tensor([0 if value is None else len(value) for value in given], dtype=torch.long)


def _none(target: Tensor, head: Head) -> Tensor | None:
    """Give lists of labels to a batch that has none at all, and so does not say that its labels are lists."""
    size = (1,) if head.per_position else head.label_shape
    if not size or target.ndim > 1 or not target.is_floating_point() or not target.isnan().all():
        return None
    return target.new_full((len(target), *size), torch.nan if head.dtype.is_floating_point else -100)


def _listed(target: Sequence[Any], head: Head, codes: Mapping[Any, int], refuse: Refuse) -> Tensor:
    rows = [[] if value is None else list(value) for value in target]
    named = [isinstance(value, str) for row in rows for value in row]
    empty = bool(codes) and head.kind == "multilabel" and not named  # no row of this batch has a label that applies
    several = not head.per_position and (any(named) or empty)
    if several:  # names of the labels that a row has
        made = torch.zeros(len(rows), head.outputs, dtype=torch.long)
        for row, values in enumerate(rows):
            made[row] = -100 if target[row] is None else 0
            for value in values:
                made[row, _code(value, codes, row, refuse)] = 1
        return made
    longest = max(map(len, rows), default=0)
    if not head.per_position and any(
        len(row) < longest for row, value in zip(rows, target, strict=True) if value is not None
    ):
        row = next(i for i, value in enumerate(target) if value is not None and len(value) < longest)
        refuse(row, target[row])
    gap = math.nan if head.dtype.is_floating_point else -100
    filled = [
        [gap if missing(value) else _code(value, codes, row, refuse) for value in values]
        + [gap] * (longest - len(values))
        for row, values in enumerate(rows)
    ]
    return torch.tensor(filled, dtype=torch.long if head.per_position else torch.float64).reshape(len(rows), longest)


def _code(value: Any, codes: Mapping[Any, int], row: int, refuse: Refuse) -> Any:
    if missing(value):
        return -100
    if value in codes:
        return codes[value]
    if isinstance(value, str):
        refuse(row, value)
    return value


def _renumbered(target: Tensor, names: Sequence[Any], refuse: Refuse) -> Tensor:
    """Number whole numbers that are names themselves, such as 1 to 5."""
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
