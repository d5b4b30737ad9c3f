"""Images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import Columns, Input

SAMPLE = 2000
"""Training images from which mean and standard deviation are learned."""


class Image(Input):
    """A column of images, which becomes "image", [batch, channels, height, width].

    An image is a PIL image, or an array or nested list, [height, width] or [height, width, channels] (or channels first,
    where the first size is 1, 3 or 4 and the last is not). Each channel is scaled to mean 0 and standard deviation 1 on the
    training split (on its first 2,000 images).

    Args:
        columns: The name of the column, in a list.
        mean: Mean of each channel. Default: learned.
        scale: Standard deviation of each channel. Default: learned.
        shape: Channels, height and width of the training images. Default: learned.

    Example:
        >>> images = Image(["pixels"])
        >>> images.fit({"pixels": [[[0, 2], [2, 0]]]})
        >>> images.collate(images.prepare({"pixels": [[[0, 2], [2, 4]]]}, [0]))["image"]
        tensor([[[[-1.,  1.],
                  [ 1.,  3.]]]])
    """

    sample = SAMPLE

    def __init__(
        self,
        columns: list[str],
        mean: list[float] | None = None,
        scale: list[float] | None = None,
        shape: list[int] | None = None,
    ) -> None:
        self.columns = columns
        self.mean = mean
        self.scale = scale
        self.shape = shape

    def fit(self, columns: Columns) -> None:
        """Learn the mean and standard deviation of each channel."""
        values = columns[self.columns[0]][:SAMPLE]
        pixels = torch.stack([_pixels(value, self.columns[0], row) for row, value in enumerate(values)]).double()
        self.shape = list(pixels.shape[1:])
        self.mean = pixels.mean((0, 2, 3)).tolist()
        constant = pixels.amin((0, 2, 3)) == pixels.amax((0, 2, 3))
        self.scale = pixels.std((0, 2, 3), correction=0).masked_fill(constant, 1.0).tolist()

    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Check that the images are of one size, and return them as tensors."""
        (column,) = self.columns
        made = [_pixels(value, column, row) for row, value in zip(rows, columns[column], strict=True)]
        for row, image in zip(rows, made, strict=True):
            if image.shape != made[0].shape:
                raise ValueError(
                    f"Column {column!r} must hold images of one size, got {list(image.shape)} (channels, height, width) in row "
                    f"{row} and {list(made[0].shape)} in row {rows[0]}. Resize them first, or give a `transform`."
                )
        return {column: made}

    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Stack and scale the images."""
        (column,) = self.columns
        pixels = torch.stack(prepared[column])
        if self.mean is None or self.scale is None:
            return {"image": pixels}
        if len(self.mean) != pixels.shape[1]:
            raise ValueError(
                f"Column {column!r} must hold images of {len(self.mean)} channels as in training, got {pixels.shape[1]}. "
                "Convert them."
            )
        mean, scale = (torch.tensor(values, dtype=pixels.dtype).view(-1, 1, 1) for values in (self.mean, self.scale))
        return {"image": (pixels - mean) / scale}

    def example(self) -> dict[str, list[Any]] | None:
        """Return two black images."""
        return None if self.shape is None else {self.columns[0]: [torch.zeros(self.shape)] * 2}


def _pixels(value: Any, column: str, row: int) -> Tensor:
    """Turn an image into a tensor, [channels, height, width]."""
    if isinstance(value, Tensor):
        array = value
    else:
        try:
            array = torch.from_numpy(np.array(value))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Column {column!r} must hold images, got {type(value).__name__} in row {row}. Open the files first, e.g. with "
                "`datasets.Dataset.cast_column(name, datasets.Image())`."
            ) from error
    if array.ndim not in (2, 3):
        raise ValueError(
            f"Column {column!r} must hold images, [height, width] or [height, width, channels], got shape "
            f"{list(array.shape)} in row {row}. Reshape it."
        )
    if array.ndim == 2:
        array = array[None]
    elif not (array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4)):
        array = array.permute(2, 0, 1)
    return array.to(torch.get_default_dtype())
