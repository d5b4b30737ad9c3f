"""How a worker sends the tensors of a batch to the main process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SMALL = 2**18
"""Bytes of a tensor up to which copying is faster than sharing memory."""
_NUMPY_TYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.short, torch.int, torch.long),
    *(torch.half, torch.float, torch.double),
}
"""Types that numpy has too."""


def sent_by_value(batch: Any) -> Any:
    """Mark the small tensors of a batch: a worker sends their numbers instead of shared memory."""
    if type(batch) is dict:
        return {name: sent_by_value(value) for name, value in batch.items()}
    plain = type(batch) is Tensor and batch.is_cpu and batch.layout is torch.strided and not batch.requires_grad
    small = plain and batch.dtype in _NUMPY_TYPES and batch.nbytes <= _SMALL
    return _ByValue(batch) if small else batch


class _ByValue:
    """A tensor that a worker sends as numbers, and that arrives as a tensor.

    By default torch puts every tensor into shared memory, and the receiver asks for the file and maps it. For small tensors this
    takes several times as long as a copy.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.from_numpy, (self.tensor.numpy(force=True),)
