"""The values of a column as one tensor."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

_EXACT = 2**53
"""Up to here float64, in which whole numbers with gaps come, holds each of them."""
_PLAIN = {bool, int, float, str, list, type(None)}
_AS_THEY_ARE = {float, str, type(None)}
"""Types of what stands in a list and must not be made a tensor before a head has looked at it."""


def stacked(values: list[Any]) -> Any:
    """Return the values of a column as one tensor, [batch, ...]; missing numbers become NaN, texts stay a list."""
    first = next((value for value in values if value is not None), None)
    if first is None or isinstance(first, bool | int | float):
        if first is None or any(value is None for value in values):
            # float64 holds every class number; floats have the type that they have where none is missing.
            dtype = torch.get_default_dtype() if isinstance(first, float) else torch.float64
            return torch.tensor([float("nan") if value is None else float(value) for value in values], dtype=dtype)
        made = torch.tensor(values)
    elif isinstance(first, str) or (isinstance(first, list) and _of_texts(values)):
        return values
    elif isinstance(first, list):
        made = padded(values, 0) if len({len(value) for value in values}) > 1 else torch.tensor(values)
    elif isinstance(first, np.ndarray | np.generic):
        made = torch.from_numpy(np.stack(values))
    else:
        made = default_collate(values)
    return made.to(torch.get_default_dtype()) if isinstance(made, Tensor) and made.is_floating_point() else made


def label_values(values: list[Any]) -> Any:
    """Return the values of a target: one tensor of whole numbers, of truths or of what are tensors, else a list.

    A list holds the values as they are: texts, real numbers (which a head may scale before they are rounded), whole numbers that no
    tensor holds exactly, and lists of words, of real numbers or of different lengths.

    Example:
        >>> label_values([1, 2]), label_values([0.5, None]), label_values([2**60, None])
        (tensor([1, 2]), [0.5, None], [1152921504606846976, None])
    """
    kinds = {*map(type, values)}
    if not kinds <= _PLAIN:
        values = [_plain(value) for value in values]
        kinds = {*map(type, values)}
    if list in kinds:
        lists = [value for value in values if value is not None]
        lengths = {len(value) for value in lists}
        uneven = len(lengths) > 1 or 0 in lengths or len(lists) < len(values)
        return values if uneven or {*map(type, chain.from_iterable(lists))} & _AS_THEY_ARE else stacked(values)
    if float in kinds and not all(value is None or value != value for value in values):
        return values
    if float in kinds:
        return stacked([None] * len(values))
    return values if int in kinds and not _are_exact(values) else stacked(values)


def shown_values(values: list[Any]) -> Any:
    """Return the values of a column that no task reads as one tensor where they have one shape; texts, gaps and lists of them stay lists."""
    read = label_values(values)
    if not isinstance(read, list) or any(isinstance(value, str) for value in read):
        return read
    lists = [value for value in read if isinstance(value, list)]
    even = len({len(value) for value in lists}) == 1 and len(lists) == len(read)
    numbers = even and {*map(type, chain.from_iterable(lists))} <= {bool, int, float}
    return stacked(read) if numbers or not lists else read


def _plain(value: Any) -> Any:
    """Return a scalar of numpy or torch as a number, and one axis of them as a list."""
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.ndim == 0):
        return value.item()
    if isinstance(value, Tensor | np.ndarray):
        return value.tolist() if value.ndim == 1 else value
    return list(value) if isinstance(value, tuple) else value


def _of_texts(lists: list[Any]) -> bool:
    return any(isinstance(word, str) for value in lists for word in (value or ())[:1])


def _are_exact(values: list[Any]) -> bool:
    """Return whether a tensor holds each of these whole numbers exactly, whatever gaps there are."""
    return all(-_EXACT <= value <= _EXACT for value in values if value is not None)


def padded(values: list[list[int]] | list[list[float]], padding: int) -> Tensor:
    """Return lists of different lengths as one tensor, [batch, longest]."""
    lengths = torch.tensor([len(value) for value in values])
    flat = torch.tensor(list(chain.from_iterable(values)))
    flat = flat if flat.numel() and flat.is_floating_point() else flat.long()
    made = torch.full((len(values), int(lengths.max())), padding, dtype=flat.dtype)
    made[torch.arange(made.shape[1]) < lengths[:, None]] = flat
    return made
