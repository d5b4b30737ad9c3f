"""Gains in percent: never NaN, and never ruled by a baseline near zero."""

from __future__ import annotations

import math
import random

import pytest
import torch

from lightning_mtl.metrics import delta_m, near_zero, relative_gains
from tests.cases import over


def drawn(seed: int) -> tuple[list[float], list[float]]:
    draw = random.Random(seed)
    scale = 10 ** draw.uniform(-6, 6)
    return [[scale * draw.uniform(0.5, 1.0) for _ in range(3)] for _ in range(2)]  # type: ignore[return-value]


@over("seed", range(20))
def test_away_from_zero_it_is_the_published_one(seed: int) -> None:
    values, baselines = drawn(seed)
    for sign in (1, -1):
        found = relative_gains(values, baselines, sign)
        told = [
            delta_m(torch.tensor([a]), torch.tensor([b]), [sign > 0]).item()
            for a, b in zip(values, baselines, strict=True)
        ]
        assert found == pytest.approx(told, rel=1e-4)


@over("seed", range(50))
def test_a_score_with_a_best_value_gains_at_most_ten_times_its_difference(seed: int) -> None:
    draw = random.Random(seed)
    values, baselines = ([draw.choice([0.0, 1e-9, -1e-3, draw.uniform(-1, 1)]) for _ in range(4)] for _ in range(2))
    for gain, value, of in zip(relative_gains(values, baselines, 1, best=1.0), values, baselines, strict=True):
        assert math.isfinite(gain)
        assert abs(gain) <= 1000 * abs(value - of) + 1e-9
        assert gain * (value - of) >= 0


@over("seed", range(50))
def test_a_score_without_a_best_value_gains_at_most_twenty_times_itself(seed: int) -> None:
    draw = random.Random(seed)
    values, baselines = ([draw.choice([0.0, 10 ** draw.uniform(-9, 9)]) for _ in range(4)] for _ in range(2))
    assert all(abs(gain) <= 2000 for gain in relative_gains(values, baselines, -1))


@pytest.mark.parametrize(
    ("baselines", "best", "near"),
    [
        ([0.001, 0.3], 1.0, True),  # in one seed
        ([0.11, 0.3], 1.0, False),
        ([-0.4, 0.4], 1.0, True),  # R² of both signs
        ([9.0, 12.0], 100.0, True),  # in percent
        ([0.001, 0.0012], None, False),  # a small error is one
        ([0.0, 2.0], None, True),
        ([0.0, 0.0], None, True),
    ],
)
def test_what_is_near_zero(baselines: list[float], best: float | None, near: bool) -> None:
    assert near_zero(baselines, baselines, best) == near
