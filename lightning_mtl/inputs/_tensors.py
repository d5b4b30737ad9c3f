"""The values of a column as one tensor."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate


def stacked(values: list[Any]) -> Any:
    """Return the values of a column as one tensor, [batch, ...]; missing numbers become NaN, texts stay a list."""
    first = next((value for value in values if value is not None), None)
    if first is None or isinstance(first, bool | int | float):
        if first is None or any(value is None for value in values):
            # float64 holds every class number; floats have the type that they have where none is missing.
            dtype = torch.get_default_dtype() if isinstance(first, float) else torch.float64
            return torch.tensor([float("nan") if value is None else float(value) for value in values], dtype=dtype)
        made = torch.tensor(values)
    elif isinstance(first, str):
        return values
    elif isinstance(first, list):
        made = padded(values, 0) if len({len(value) for value in values}) > 1 else torch.tensor(values)
    elif isinstance(first, np.ndarray | np.generic):
        made = torch.from_numpy(np.stack(values))
    else:
        made = default_collate(values)
    return made.to(torch.get_default_dtype()) if isinstance(made, Tensor) and made.is_floating_point() else made


def label_values(values: list[Any]) -> Any:
    """Return the values of a target as one tensor where they have one shape; lists of words or of different lengths stay lists."""
    lists = [value for value in values if isinstance(value, list | np.ndarray)]
    if any(element is None for value in lists for element in value):
        return [None if value is None else list(value) for value in values]
    lengths = {len(value) for value in lists}
    if lists and (len(lengths) > 1 or 0 in lengths or len(lists) < len(values) or _of_texts(lists)):
        return [None if value is None else list(value) for value in values]
    return stacked(values)


def _of_texts(lists: list[Any]) -> bool:
    return any(isinstance(word, str) for value in lists for word in value[:1])


def padded(values: list[list[int]] | list[list[float]], padding: int) -> Tensor:
    """Return lists of different lengths as one tensor, [batch, longest]."""
    lengths = torch.tensor([len(value) for value in values])
    flat = torch.tensor(list(chain.from_iterable(values)))
    flat = flat if flat.numel() and flat.is_floating_point() else flat.long()
    made = torch.full((len(values), int(lengths.max())), padding, dtype=flat.dtype)
    made[torch.arange(made.shape[1]) < lengths[:, None]] = flat
    return made
