"""How features with positions become one vector for each example."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Readout = Literal["mean", "first", "last"]


def refuse_readout(readout: str) -> None:
    """Reject an unknown readout.

    Raises:
        ValueError: It is unknown.
    """
    if readout not in get_args(Readout):
        raise ValueError(f"`readout` must be 'mean', 'first' or 'last', got {readout!r}.")


def read_out(
    features: Float[Tensor, "batch *positions width"],
    mask: Shaped[Tensor, "batch positions"] | None,
    readout: Readout,
) -> Float[Tensor, "batch width"]:
    """Return one vector for each example; features without positions are returned as they are.

    Args:
        features: [batch, width], or [batch, length, width] with positions.
        mask: [batch, length], true (or 1) at the positions that count. Default: all of them.
        readout: "mean", the mean over the positions that count; "first", the first position; "last", the last that counts.
    """
    if features.ndim == 2:
        return features
    if readout == "first":
        return features[:, 0]
    if readout == "last":
        return features[:, -1] if mask is None else features[_range(mask.shape[0], mask), _last(mask)]
    if mask is None:
        return features.mean(1)
    kept = mask.unsqueeze(-1).to(features.dtype)
    return (features * kept).sum(1) / kept.sum(1).clamp(min=1)


def _last(mask: Tensor) -> Tensor:
    """Return the last position that a mask keeps; the first position where it keeps none."""
    return ((mask != 0) * _range(mask.shape[1], mask)).argmax(1)


def _range(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device)
