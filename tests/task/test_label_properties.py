"""Whatever labels a column has, they are coded and decoded alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_mtl import Binary, Multiclass, Multilabel, Regression, Task
from lightning_mtl.inputs import label_values

quick = settings(max_examples=40, deadline=None, database=None)
whole = st.one_of(
    st.integers(-(2**70), 2**70), st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1, 2**63, -(2**63), 2**64, -100])
)
classes = st.one_of(
    *(st.lists(kind, min_size=2, max_size=5, unique=True) for kind in (whole, st.text(min_size=1), st.booleans()))
)


def head_of(names: list[Any]) -> Any:
    return Binary(names=names) if len(names) == 2 else Multiclass(len(names), names=names)


def coded(head: Any, column: Any) -> tuple[Tensor, Any]:
    """Return what a batch with this column holds."""
    batch = {"y": column}
    Task("y", head=head).label(batch)
    return batch["y"], Task("y", head=head).read({"y": column})[1]


@quick
@given(names=classes, draws=st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_classes_are_coded_and_decoded_alike(names: list[Any], draws: list[int]) -> None:
    """Five is no label; a column may lack some, or all."""
    column = [None if draw == 5 else names[draw % len(names)] for draw in draws]
    labels, rows = coded(head_of(names), label_values(column))
    assert [None if label == -100 else names[label] for label in labels.tolist()] == column
    there = [row for row, value in enumerate(column) if value is not None]
    assert (there == list(range(len(column)))) if rows is None else (rows.tolist() == there)


@quick
@given(
    names=st.lists(st.integers(-(2**53), 2**53), min_size=2, max_size=5, unique=True),
    draws=st.lists(st.integers(0, 5), min_size=1, max_size=12),
)
def test_the_container_of_a_whole_number_does_not_matter(names: list[int], draws: list[int]) -> None:
    column = [names[draw % len(names)] for draw in draws]
    expected, _ = coded(head_of(names), label_values(column))
    forms: list[Any] = [
        torch.tensor(column),
        torch.tensor(column, dtype=torch.float64),
        label_values([np.int64(value) for value in column]),
        label_values([torch.tensor(value) for value in column]),
        label_values([float(value) for value in column]),
    ]
    for form in forms:
        assert coded(head_of(names), form)[0].tolist() == expected.tolist()
    with_gap, rows = coded(head_of(names), label_values([np.nan, *map(np.int64, column), None]))
    assert with_gap.tolist() == [-100, *expected.tolist(), -100]
    assert rows is not None
    assert rows.tolist() == list(range(1, len(column) + 1))


@quick
@given(
    middle=st.floats(-1e12, 1e12),
    spread=st.floats(0.5, 1e6),
    draws=st.lists(st.floats(-3, 3), min_size=3, max_size=12, unique=True).filter(lambda of: np.std(of) > 0.1),
    gap=st.booleans(),
)
def test_numbers_far_from_zero_are_scaled_before_they_are_rounded(
    middle: float, spread: float, draws: list[float], gap: bool
) -> None:
    values = [middle + spread * draw for draw in draws]
    head = Regression(scaled=True)
    head.fit(torch.tensor(values, dtype=torch.float64))
    labels, rows = coded(head, label_values([*values, None] if gap else values))
    assert labels.dtype is torch.float32
    assert (rows is not None) is gap
    expected = (np.array(values) - np.mean(values)) / np.std(values)
    assert np.allclose(labels[: len(values)].numpy(), expected, atol=1e-5 + 1e-3 / spread)
    decoded = head.decode(labels[: len(values)]).tolist()
    assert decoded == pytest.approx(
        values, abs=float(1e-5 * np.std(values) + 1e-15 * abs(middle) + 1e-3 * (head.offset is None))
    )


@pytest.mark.parametrize(
    ("head", "column", "says"),
    [
        (Multiclass(3), [1, None, 2**60], f"row 2 has {2**60}"),
        (Multiclass(3, names=["a", "b", "c"]), [2**64], f"row 0 has {2**64}"),
        (Multiclass(2, names=[2**60, 2**60 + 1]), [2**60 + 2, None], f"row 0 has {2**60 + 2}"),
        (Multiclass(2, names=[2**60, 2**60 + 1]), torch.tensor([float(2**60)]), "float32, which does not hold every"),
        (Regression(), [1.0, 1e39], r"must be a number that float32 can hold; row 1 has 1e\+39"),
        (Regression(), [1.0, 10**400], "row 1 has 1000"),
        (Regression(), [1.0, math.inf], "row 1 has inf"),
    ],
)
def test_a_number_that_cannot_be_held_is_named(head: Any, column: Any, says: str) -> None:
    column = column if isinstance(column, Tensor) else label_values(column)
    with pytest.raises(ValueError, match=says):
        Task("y", head=head).label({"y": column})


@pytest.mark.parametrize(
    ("names", "column", "labels"),
    [
        ([True, False], [True, False, None], [0, 1, -100]),
        ([1.0, 0.0], [1, 0], [0, 1]),
        ([False, True], [True, False], [1, 0]),
        (["no", "yes"], [True, None], [1, -100]),
        ([-100, -50], [-50, -100, None], [1, 0, -100]),
        ([5, 7], [-100, 7], [-100, 1]),
    ],
)
def test_names_say_what_a_label_is(names: list[Any], column: list[Any], labels: list[int]) -> None:
    assert coded(head_of(names), label_values(column))[0].tolist() == labels


def test_a_number_in_a_list_is_no_name() -> None:
    """The names of a regression, or of labels that apply or not, are not what stands in a column."""
    assert coded(Regression(2, names=[10, 5]), [[5.0, 10.0], None])[0].tolist()[0] == [5, 10]
    assert coded(Multilabel(2, names=[1, 0]), [[1, 0], None])[0].tolist()[0] == [1, 0]
