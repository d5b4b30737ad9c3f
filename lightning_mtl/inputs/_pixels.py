"""One image as a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def pixels(value: Any, column: str, row: int) -> Tensor:
    """Turn an image into a tensor, [channels, height, width], of the type that it has; a palette becomes its colours.

    Raises:
        ValueError: It is none, or cannot be read.
    """
    try:
        array = value if isinstance(value, Tensor) else torch.from_numpy(np.array(_in_colours(value)))
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(
            f"Column {column!r} must hold images, got {type(value).__name__} in row {row} ({type(error).__name__}: {str(error)[:100]}). "
            "Open the files first, e.g. with `datasets.Dataset.cast_column(name, datasets.Image())`; drop those that are damaged."
        ) from error
    if array.ndim not in (2, 3) or not array.numel():
        raise ValueError(
            f"Column {column!r} must hold images, [height, width] or [height, width, channels], got shape "
            f"{list(array.shape)} in row {row}. Reshape it."
        )
    if array.ndim == 2:
        return array[None]
    return array if array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4) else array.permute(2, 0, 1)


def is_palette(value: Any) -> bool:
    """Return whether an image of PIL holds numbers of colours."""
    return getattr(value, "mode", None) == "P"


def _in_colours(value: Any) -> Any:
    if not is_palette(value):
        return value
    return value.convert("RGBA" if "transparency" in value.info else "RGB")


WHOLE = "whole numbers"
"""The kind of numbers that may be of either range."""


def kind_of(image: Tensor) -> str:
    """Return the kind of the numbers of an image: those of other kinds have another scale."""
    if image.dtype is torch.bool:
        return "truths"
    if image.is_floating_point():
        return "real numbers"
    if image.dtype is torch.uint8:
        return "numbers up to 255"
    return "numbers beyond 255" if int(image.max()) > 255 else WHOLE


def in_channels(image: Tensor, channels: int) -> Tensor | None:
    """Return an image with this number of channels, where it is certain what that is; else None.

    Grey is the same in three colours, and equal colours are grey; alpha says nothing where it is opaque.

    Args:
        image: [channels, height, width], of 1 (grey), 2 (with alpha), 3 (colours) or 4 channels.
        channels: 1 or 3.
    """
    if len(image) == channels:
        return image
    if len(image) in (2, 4):
        opaque = 1 if image.is_floating_point() else 255
        return in_channels(image[:-1], channels) if bool((image[-1] == opaque).all()) else None
    if len(image) == 1 and channels == 3:
        return image.expand(3, -1, -1)
    same = len(image) == 3 and bool((image == image[:1]).all())
    return image[:1] if same and channels == 1 else None
