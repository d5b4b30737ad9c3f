"""Readouts: from positions to one vector."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl.heads._readout import Readout, read_out

READOUTS: tuple[Readout, ...] = ("mean", "first", "last")


def padded(features: Tensor, by: int) -> tuple[Tensor, Tensor]:
    batch, length, width = features.shape
    mask = torch.arange(length + by).expand(batch, -1) < length
    return torch.cat([features, torch.full((batch, by, width), 1e3)], 1), mask


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("length", [1, 4])
def test_padding_is_irrelevant(readout: Readout, length: int) -> None:
    features = torch.randn(3, length, 5)
    assert_close(read_out(*padded(features, 3), readout), read_out(features, None, readout))


@pytest.mark.parametrize("readout", READOUTS)
def test_equal_positions_are_read_as_one(readout: Readout) -> None:
    vector = torch.randn(3, 5)
    assert_close(read_out(vector.unsqueeze(1).expand(-1, 4, -1), None, readout), vector)
    assert read_out(vector, None, readout) is vector
