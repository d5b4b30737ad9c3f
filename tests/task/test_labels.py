"""Labels as a head reads them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_mtl import Multiclass
from lightning_mtl.task._labels import as_numbers, at_word_starts


def test_labels_are_moved_to_where_words_start() -> None:
    words = torch.tensor([[-1, 0, -1, 1, 2, -1], [-1, 0, 1, -1, -1, -1]])
    labels = torch.tensor([[5, 6, 7], [8, 9, -100]])

    def refuse(row: int, value: Any) -> Any:
        raise AssertionError((row, value))

    assert at_word_starts(labels, words, refuse).tolist() == [
        [-100, 5, -100, 6, 7, -100],
        [-100, 8, 9, -100, -100, -100],
    ]


def test_a_fraction_is_no_class() -> None:
    with pytest.raises(ValueError, match="row 1"):
        as_numbers(torch.tensor([1.0, 3.7]), Multiclass(5, names=[1, 2, 3, 4, 5]), refuse)


def refuse(row: int, value: Any) -> Any:
    raise ValueError(f"row {row}: {value}")
