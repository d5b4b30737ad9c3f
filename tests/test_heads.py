"""Heads: shapes, losses and what they know of their labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_mtl import Binary, Head, Multiclass, Multilabel, Regression

HEADS = [(Binary(), ()), (Multiclass(3), (3,)), (Multilabel(4), (4,)), (Regression(), ()), (Regression(2), (2,))]
HEADS += [(Multilabel(1), (1,))]


@pytest.mark.parametrize(("head", "shape"), HEADS, ids=lambda value: type(value).__name__)
def test_prediction_has_a_row_for_each_example(head: Head, shape: tuple[int, ...]) -> None:
    head.build(6)
    prediction = head(torch.randn(5, 6))
    assert prediction.shape == (5, *shape)
    assert head.predict(prediction).shape == prediction.shape


@pytest.mark.parametrize("readout", ["mean", "first"])
def test_padding_changes_nothing(readout: str) -> None:
    head = Multiclass(3, readout=readout)  # type: ignore[arg-type]
    head.build(6)
    features = torch.randn(2, 4, 6)
    padded = torch.cat([features, torch.full((2, 3, 6), 9.0)], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]] * 2)
    assert_close(head(padded, mask), head(features))
    if readout == "mean":
        assert_close(head(features), head(features.mean(1)))


def test_losses_are_those_of_the_definitions() -> None:
    z = torch.randn(6, 3, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    assert_close(Multiclass(3).loss(z, y), -z.log_softmax(-1)[range(6), y].mean())
    yes = torch.tensor([0, 1, 1, 0, 0, 1])
    p = z[:, 0].sigmoid()
    assert_close(Binary().loss(z[:, 0], yes), -(yes * p.log() + (1 - yes) * (1 - p).log()).mean())
    assert_close(Regression().loss(z[:, 0], z[:, 1]), ((z[:, 0] - z[:, 1]) ** 2).mean())


def test_half_precision_does_not_round_the_target() -> None:
    prediction, target = torch.tensor([1000.0], dtype=torch.bfloat16), torch.tensor([1003.0])
    assert Regression().loss(prediction, target).item() == 9.0


def test_multilabel_averages_over_the_known_labels_of_each_example() -> None:
    z = torch.randn(2, 3, dtype=torch.float64)
    y = torch.tensor([[1, 0, -100], [-100, -100, 1]])
    p = z.sigmoid()
    first = -(p[0, 0].log() + (1 - p[0, 1]).log()) / 2
    assert_close(Multilabel(3).loss(z, y), (first - p[1, 2].log()) / 2)


@pytest.mark.parametrize(
    ("head", "target", "complete", "labelled", "valid"),
    [
        (Multiclass(3), [0, 2], True, [1, 1], [1, 1]),
        (Multiclass(3), [0, -100], False, [1, 0], [1, 0]),
        (Multiclass(3), [0, 3], False, [1, 1], [1, 0]),
        (Binary(), [0, 1], True, [1, 1], [1, 1]),
        (Binary(), [2, -100], False, [1, 0], [0, 0]),
        (Regression(), [-100.0, 3.5], True, [1, 1], [1, 1]),
        (Regression(), [math.nan, 3.5], False, [0, 1], [0, 1]),
        (Regression(), [math.inf, 3.5], False, [1, 1], [0, 1]),
    ],
)
def test_heads_know_their_labels(
    head: Head, target: list[float], complete: bool, labelled: list[int], valid: list[int]
) -> None:
    made = torch.tensor(target)
    assert head.complete(made) is complete
    assert head.labelled(made).int().tolist() == labelled
    assert (head.labelled(made) & head.valid(made)).int().tolist() == [
        a & b for a, b in zip(labelled, valid, strict=True)
    ]


def test_own_layers_are_used() -> None:
    layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    head = Multiclass(3, layers=layers)
    head.build(6)
    x = torch.randn(2, 6)
    assert head.layers is layers
    assert_close(head(x), layers(x))


def test_dropout_only_acts_in_training() -> None:
    head = Regression(dropout=0.5)
    head.build(100)
    x: Tensor = torch.ones(1, 100)
    assert len({head(x).item() for _ in range(5)}) > 1
    head.eval()
    assert len({head(x).item() for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Multiclass(1), "`classes` must be at least 2, got 1"),
        (lambda: Regression(0), "`outputs` must be at least 1, got 0"),
        (lambda: Binary(dropout=1.0), r"`dropout` must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_arguments_are_refused(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()  # type: ignore[operator]
