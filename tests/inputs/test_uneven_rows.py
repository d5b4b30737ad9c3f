"""Rows that differ in form: what is certain is done and said, the rest is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from lightning_mtl.inputs import Image, Own, Plain

NUMBERS = range(7, 11)


def read(part: Any, columns: dict[str, list[Any]]) -> Any:
    size = len(next(iter(columns.values())))
    return part.collate(part.prepare(columns, NUMBERS[:size]))


# Lists of numbers


@pytest.mark.parametrize(
    "values",
    [
        [[1.0, 2.0], [3.0]],
        [[1, 2], [3]],
        [np.ones(2), np.ones(3)],
        [torch.ones(2, 2), torch.ones(2, 3)],
        [[[1, 2], [3, 4]], [[1, 2], [3]]],
        [[1.0], []],
        [1.0, [1.0]],
    ],
    ids=lambda of: of if isinstance(of, str) else "rows",
)
def test_a_row_with_other_values_than_others_is_named(values: list[Any]) -> None:
    with pytest.raises(
        ValueError, match=r"Column 'x' must hold as many numbers in every row, got .* in row 8 and .* in row 7"
    ):
        read(Plain(["x"]), {"x": values})


def test_sequences_are_padded_where_tokens_or_a_mask_say_so() -> None:
    assert read(Plain(["input_ids"]), {"input_ids": [[5, 7], [9]]})["input_ids"].tolist() == [[5, 7], [9, 0]]
    columns: dict[str, Any] = {"x": [[0.5, 1.5], [2.5]], "mask": [[1, 1], [1]]}
    batch = read(Plain(["x", "mask"]), columns)
    assert batch["x"].tolist() == [[0.5, 1.5], [2.5, 0]]
    assert batch["mask"].tolist() == [[1, 1], [1, 0]]
    with pytest.raises(ValueError, match="Column 'y'"):  # not as long as the mask
        read(Plain(["x", "mask", "y"]), {**columns, "y": [[1.0], [1.0, 2.0]]})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1.0, "a"], "got str in row 8: 'a'"),
        (["a", 1.0], "got float in row 8"),
        ([[1.0], object()], "got object in row 8"),
    ],
)
def test_what_is_no_number_is_named(values: list[Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(Plain(["x"]), {"x": values})


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (
            lambda columns: {"x": torch.tensor(columns["a"][:-1])},
            "as many rows as it is given, got {'x': 1} for 2 rows",
        ),
        (lambda columns: torch.tensor(columns["a"]), "must return {column: tensor}, got Tensor"),
    ],
)
def test_a_transform_that_leaves_rows_out_is_named(function: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(Own(function), {"a": [1.0, 2.0]})


# Images


def photo(mode: str = "RGB", size: tuple[int, int] = (3, 2), seed: int = 0) -> PIL.Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels).convert(mode)


def fitted(images: list[Any]) -> Image:
    part = Image(["pixels"])
    part.fit({"pixels": images})
    return part


def test_a_palette_is_read_in_its_colours() -> None:
    coloured = photo()
    indexed = coloured.convert("P", palette=PIL.Image.Palette.ADAPTIVE, colors=256)
    part = fitted([indexed, coloured])
    assert part.shape == [3, 2, 3]
    assert part.mixed is None
    assert "1 images of a palette" in part.note()
    assert torch.equal(*read(part, {"pixels": [indexed, coloured]})["image"])


def test_grey_and_opaque_images_join_coloured_ones() -> None:
    images = [photo(), photo("L", seed=1), photo("RGBA", seed=2), photo("LA", seed=3)]
    part = fitted(images)
    assert part.shape == [3, 2, 3]
    assert "images of different channels are read with 3" in part.note()
    found = read(part, {"pixels": images})["image"]
    plain = read(part, {"pixels": [image.convert("RGB") for image in images]})["image"]
    assert torch.equal(found, plain)
    again = Image(["pixels"], part.mean, part.scale, part.shape, part.mixed)
    assert torch.equal(read(again, {"pixels": images})["image"], plain)


def test_what_was_one_kind_in_training_stays_one() -> None:
    with pytest.raises(ValueError, match="3 channels as in training, got 1"):
        read(fitted([photo(), photo(seed=1)]), {"pixels": [photo("L")]})


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ([photo(), photo(size=(4, 2))], r"of one size, got \[3, 2, 4\] .* in row 1 and \[3, 2, 3\] in row 0"),
        ([photo(), PIL.Image.new("RGBA", (3, 2), (9, 9, 9, 100))], "4 with colours or transparency in row 1"),
        (
            [np.zeros((2, 3), np.uint8), np.full((2, 3), 0.5)],
            "got real numbers in row 1 and numbers up to 255 in row 0",
        ),
        ([np.zeros((2, 3), np.uint8), np.full((2, 3), 999, np.int32)], "got numbers beyond 255 in row 1"),
        ([photo("1"), photo("L")], "got numbers up to 255 in row 1 and truths in row 0"),
        ([photo(), None], "must hold images, got NoneType in row 1"),
        ([photo(), {"bytes": b"x"}], "must hold images, got dict in row 1"),
        ([photo(), np.zeros((0, 3))], r"got shape \[0, 3\] in row 1"),
    ],
    ids=lambda of: of if isinstance(of, str) else "rows",
)
def test_images_that_do_not_go_together_are_named(images: list[Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fitted(images)


def test_a_damaged_image_is_named() -> None:
    class Damaged(PIL.Image.Image):
        def __array__(self, *args: Any, **options: Any) -> Any:
            raise OSError("image file is truncated")

        @property
        def __array_interface__(self) -> Any:
            raise OSError("image file is truncated")

    with pytest.raises(ValueError, match=r"row 1 \(OSError: image file is truncated\).*drop those that are damaged"):
        fitted([photo(), Damaged()])
