"""Label values as the numbers that a head learns from."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
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
    names: Sequence[Any] | None = None if head.dtype.is_floating_point else getattr(head, "names", None)
    if isinstance(target, Tensor) and (unlabelled := _unlabelled(target, head)) is not None:
        return unlabelled
    if isinstance(target, Tensor):
        return _renumbered(target, names, refuse) if names and not head.label_shape else target
    if any(isinstance(value, list) for value in target):
        return _lists_as_numbers(target, head, names or (), refuse)
    numbers = _numbered(names or ())
    if names and all(missing(value) or isinstance(value, str) for value in target):
        return torch.tensor(
            [_number(value, numbers, row, refuse) for row, value in enumerate(target)], dtype=torch.long
        )
    if not all(missing(value) or isinstance(value, int | float) for value in target):
        return target
    if names and _are_values(names):
        return torch.tensor([_value(value, numbers, row, refuse) for row, value in enumerate(target)], dtype=torch.long)
    return _as_floats(target, head, refuse)


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


def _lists_as_numbers(target: Sequence[Any], head: Head, names: Sequence[Any], refuse: RefuseLabel) -> Tensor:
    numbers = _numbered(names)
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
    known = numbers if head.per_position else {}  # elsewhere numbers are yes and no, or quantities
    number = _value if known and _are_values(names) else _number
    padded = [
        [padding if missing(value) else number(value, known, row, refuse) for value in values]
        + [padding] * (longest - len(values))
        for row, values in enumerate(rows)
    ]
    return torch.tensor(padded, dtype=torch.long if head.per_position else torch.float64).reshape(len(rows), longest)


def _numbered(names: Sequence[Any]) -> dict[Any, int]:
    return {name: number for number, name in enumerate(names)}


def _number(value: Any, numbers: Mapping[Any, int], row: int, refuse: RefuseLabel) -> Any:
    """Return the number of a named class, -100 for a missing label; numbers are returned as they are."""
    if missing(value):
        return -100
    if value in numbers:
        return numbers[value]
    if isinstance(value, str):
        refuse(row, value)
    return value


def _as_floats(target: Sequence[Any], head: Head, refuse: RefuseLabel) -> Tensor:
    """Return numbers as float64, NaN where one is missing; a whole number that is no class must not be rounded to one."""
    for row, value in enumerate(target):
        whole = isinstance(value, int) and abs(value) > 2**53
        if whole and (not head.dtype.is_floating_point or abs(value) > sys.float_info.max):
            refuse(row, value)
    return torch.from_numpy(np.array([math.nan if missing(value) else value for value in target], dtype=np.float64))


def _value(value: Any, numbers: Mapping[Any, int], row: int, refuse: RefuseLabel) -> int:
    """Return the number of a class whose name is a number."""
    if value in numbers:
        return numbers[value]
    if not missing(value) and value != -100:
        refuse(row, value)
    return -100


def _are_values(names: Sequence[Any]) -> bool:
    """Return whether labels are the names of classes, such as 1 to 5, and not their numbers."""
    whole = all(isinstance(name, int) or (isinstance(name, float) and name.is_integer()) for name in names)
    return whole and list(names) != list(range(len(names)))


def _renumbered(target: Tensor, names: Sequence[Any], refuse: RefuseLabel) -> Tensor:
    """Turn whole numbers that are names of classes, such as 1 to 5, into class numbers."""
    if not _are_values(names):
        return target
    if max(map(abs, names)) <= _exact(target.dtype):
        return _looked_up(target, names, refuse)
    width = max(target.shape[1:].numel(), 1)
    numbers, kind = _numbered(names), str(target.dtype).removeprefix("torch.")
    found = []
    for place, value in enumerate(target.flatten().tolist()):
        if isinstance(value, float) and abs(value) > _exact(target.dtype):
            refuse(place // width, f"{value:.17g} as {kind}, which does not hold every such number")
        found.append(_value(value, numbers, place // width, refuse))
    return torch.tensor(found, dtype=torch.long, device=target.device).reshape(target.shape)


def _exact(dtype: torch.dtype) -> int:
    """Return up to which number a type holds each whole number."""
    return int(2 / torch.finfo(dtype).eps) if dtype.is_floating_point else 2**63 - 1


def _looked_up(target: Tensor, names: Sequence[Any], refuse: RefuseLabel) -> Tensor:
    gaps = target.isnan() if target.is_floating_point() else torch.zeros_like(target, dtype=torch.bool)
    gaps = gaps if -100 in names else gaps | (target == -100)
    values = target.masked_fill(gaps, 0).long()
    known = torch.tensor([int(name) for name in names], device=target.device)
    order = known.argsort()
    places = torch.searchsorted(known[order].contiguous(), values.contiguous()).clamp(max=len(names) - 1)
    found = order[places]
    wrong = ((known[found] != values) | (values != target)) & ~gaps
    if wrong.any():
        first = wrong.nonzero()[0].tolist()
        refuse(first[0], target[tuple(first)].item())
    return found.masked_fill(gaps, -100)
