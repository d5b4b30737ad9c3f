"""Columns of a table: read as Arrow has them or as lists, and scaled whatever a few of their values are."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lightning_mtl.inputs import Table
from lightning_mtl.inputs._scale import scale_of
from tests.cases import over


def features(values: list[Any], others: list[Any] | None = None) -> np.ndarray:
    table = Table(["x"])
    table.fit({"x": values})
    given = values if others is None else others
    made: np.ndarray = table.collate(table.prepare({"x": given}, range(len(given))))["features"].numpy()
    return made


@over("seed", range(20))
def test_arrow_columns_and_lists_are_coded_alike(seed: int) -> None:
    draw = random.Random(seed)
    kinds: list[Any] = [
        lambda: draw.gauss(1e6, 3),
        lambda: draw.randint(-5, 2**53),
        lambda: draw.random() < 0.5,
        lambda: draw.choice(["a", "b", "c", "é"]),
    ]
    kind, gaps = draw.choice(kinds), draw.choice([0, 0.2])
    values = [None if draw.random() < gaps else kind() for _ in range(50)]
    values[0] = kind()
    as_arrow, as_list = (Table(["x"]), Table(["x"]))
    column = pa.chunked_array([pa.array(values[:20]), pa.array(values[20:], pa.array(values).type)])
    as_arrow.fit({"x": column})
    as_list.fit({"x": values})
    assert as_arrow.learned == as_list.learned
    made = [table.prepare({"x": of}, range(50))["features"] for table, of in ((as_arrow, column), (as_list, values))]
    np.testing.assert_array_equal(*made)


@over("seed", range(20))
def test_ordinary_numbers_have_their_own_mean_and_deviation(seed: int) -> None:
    """To the last bit, heavy tails included."""
    draw = np.random.default_rng(seed)
    kinds: list[Any] = [draw.normal, draw.exponential, draw.standard_normal, lambda size: draw.lognormal(0, 2, size)]
    kind = kinds[seed % 4]
    numbers = kind(size=int(draw.integers(2, 2000)))
    assert scale_of(numbers) == {"mean": float(numbers.mean()), "scale": float(numbers.std())}


@pytest.mark.parametrize("huge", [[1e6], [-1e12], [1e300], [1e8, -1e20], [1.7e308, -1.7e308]])
@pytest.mark.parametrize("count", [20, 400, 5000])
def test_huge_values_leave_the_others_as_they_are(huge: list[float], count: int) -> None:
    huge = huge if count > 200 else huge[:1]
    numbers = np.random.default_rng(0).normal(40, 3, count).tolist()
    made = features([*huge, *numbers])
    np.testing.assert_array_equal(made[len(huge) :], features(numbers))
    extremes = features(numbers, [min(numbers), max(numbers)])
    assert [float(value) for value in made[: len(huge), 0]] == [float(extremes[int(value > 0), 0]) for value in huge]


def test_huge_values_are_told() -> None:
    table = Table(["pay"])
    table.fit({"pay": [*map(float, range(30)), 1e30]})
    assert (
        table.note()
        == "1 of the values of pay are huge (one is 1e+30); they are clipped to [0, 29], the range of the others"
    )


@pytest.mark.parametrize(
    "values",
    [[0.0] * 50 + [1.0], [0, 1] * 20 + [5], [1.0, 2.0, 1e9], [*range(40), 1_000_000, 2_000_000, 3_000_000]],
    ids=["a rare one", "a large count", "few rows", "more than a few"],
)
def test_what_is_no_accident_stays(values: list[float]) -> None:
    assert "low" not in scale_of(np.array(values, dtype=float))


def test_many_values_near_the_end_of_float64_are_scaled() -> None:
    found = features([1.5e308, -1.5e308] * 10)
    np.testing.assert_allclose(found[:2, 0], [1, -1])


def test_what_float32_cannot_hold_is_named() -> None:
    with pytest.raises(ValueError, match=r"Column 'x' must hold numbers that float32 can hold .* got 1e\+60 in row 1"):
        features([0.0, 1.0] * 20, [0.5, 1e60])
    with pytest.raises(ValueError, match="finite numbers, got int in row 0"):
        features([10**400, 1, 2])
    with pytest.raises(ValueError, match=r"got float in row 2: inf"):
        Table(["x"]).fit({"x": pa.array([1.0, None, math.inf])})
