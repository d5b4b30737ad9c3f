"""Images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._base import Columns, Input
from ._pixels import WHOLE, in_channels, is_palette, kind_of, pixels

SAMPLE = 2000
"""Training images from which mean and standard deviation are learned."""


class Image(Input):
    """A column of images, which becomes "image", [batch, channels, height, width].

    An image is a PIL image, or an array or nested list, [height, width] or [height, width, channels] (or channels first,
    where the first size is 1, 3 or 4 and the last is not). Each channel is scaled to mean 0 and standard deviation 1 on the
    training split (on its first 2,000 images).

    Images of a palette become their colours. Where training images have different channels, grey ones are repeated in three
    channels, and an alpha that is opaque is left out; what else differs is an error: an alpha that is not, another size, or
    numbers of another kind.

    Args:
        columns: The name of the column, in a list.
        mean: Mean of each channel. Default: learned.
        scale: Standard deviation of each channel. Default: learned.
        shape: Channels, height and width of the training images. Default: learned.
        mixed: Whether the training images had different channels, and those to come may.

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
        mixed: bool | None = None,
    ) -> None:
        self.columns = columns
        self.mean = mean
        self.scale = scale
        self.shape = shape
        self.mixed = mixed
        self._palettes = 0

    def fit(self, columns: Columns) -> None:
        """Learn the mean and standard deviation of each channel.

        Raises:
            ValueError: Images that are none, or of different sizes or kinds.
        """
        values = columns[self.columns[0]][:SAMPLE]
        made = [pixels(value, self.columns[0], row) for row, value in enumerate(values)]
        self._refuse_kinds(made)
        sizes = {len(image) for image in made}
        self.mixed = True if len(sizes) > 1 else None
        if self.mixed:
            made = [self._as_training(image, 3 if max(sizes) > 2 else 1, row) for row, image in enumerate(made)]
        self._palettes = sum(map(is_palette, values))
        self._refuse_sizes(made, range(len(made)))
        self._learn(torch.stack(made).double())

    def _learn(self, pixels: Tensor) -> None:
        self.shape = list(pixels.shape[1:])
        self.mean = pixels.mean((0, 2, 3)).tolist()
        constant = pixels.amin((0, 2, 3)) == pixels.amax((0, 2, 3))
        self.scale = pixels.std((0, 2, 3), correction=0).masked_fill(constant, 1.0).tolist()

    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Check that the images are of one size, and return them as tensors."""
        (column,) = self.columns
        made = [pixels(value, column, row) for row, value in zip(rows, columns[column], strict=True)]
        if self.mixed and self.shape is not None:
            made = [self._as_training(image, self.shape[0], row) for row, image in zip(rows, made, strict=True)]
        self._refuse_sizes(made, rows)
        return {column: [image.to(torch.get_default_dtype()) for image in made]}

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

    def note(self) -> str:
        """Return what was done to images: colours of palettes, and channels that were brought to one number."""
        palettes = f"{self._palettes:,} images of a palette are read in their colours" if self._palettes else ""
        mixed = (
            f"images of different channels are read with {self.shape[0]} (grey ones repeated, opaque alpha left out)"
            if self.mixed and self.shape
            else ""
        )
        return "; ".join(filter(None, (palettes, mixed)))

    def _as_training(self, image: Tensor, channels: int, row: int) -> Tensor:
        found = in_channels(image, channels)
        if found is None:
            raise ValueError(
                f"Column {self.columns[0]!r} must hold images that can be read with {channels} channel{'s' * (channels > 1)} as others, got "
                f"{len(image)} with colours or transparency in row {row}. Convert all to one mode, e.g. image.convert('RGB')."
            )
        return found

    def _refuse_kinds(self, images: Sequence[Tensor]) -> None:
        kinds = [kind_of(image) for image in images]
        sure = [row for row, kind in enumerate(kinds) if kind != WHOLE] or [0]
        first = sure[0]
        odd = next((row for row in sure if kinds[row] != kinds[first]), None)
        if odd is not None:
            raise ValueError(
                f"Column {self.columns[0]!r} must hold images of one kind of numbers, got {kinds[odd]} in row {odd} and {kinds[first]} in row "
                f"{first}. Convert all to one mode."
            )

    def _refuse_sizes(self, images: Sequence[Tensor], rows: Sequence[int]) -> None:
        for row, image in zip(rows, images, strict=True):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"Column {self.columns[0]!r} must hold images of one size, got {list(image.shape)} (channels, height, width) in row "
                    f"{row} and {list(images[0].shape)} in row {rows[0]}. Resize them first, or give a `transform`."
                )

    def example(self) -> dict[str, list[Any]] | None:
        """Return two black images."""
        return None if self.shape is None else {self.columns[0]: [torch.zeros(self.shape)] * 2}
