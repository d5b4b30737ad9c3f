"""What is said of metrics that are not defined."""

from __future__ import annotations

import warnings

import pytest

from lightning_mtl.modules._left_out import LeftOut


def told(batches: list[bool]) -> list[str]:
    """Return the warnings after training batches in which a metric was defined or not."""
    left_out = LeftOut()
    for defined in batches:
        missing = {} if defined else {"f1": "it needs a positive label"}
        left_out.note("train", "spam", missing, ["f1"] if defined else [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        left_out.warn("train", [], on=True)
    return [str(of.message) for of in caught]


def test_training_metrics_are_named_that_no_batch_defines() -> None:
    (said,) = told([False] * 10)
    assert "Task 'spam', in the training batches that were logged: `f1` is not defined" in said


@pytest.mark.parametrize("batches", [[False] * 9, [False] * 20 + [True]])
def test_training_metrics_are_not_named_that_few_batches_or_not_all_leave_undefined(batches: list[bool]) -> None:
    assert told(batches) == []


def test_metrics_of_an_evaluation_are_named_at_once_and_once() -> None:
    left_out = LeftOut()
    left_out.note("validate", "spam", {"f1": "it needs a positive label"}, [])
    with pytest.warns(UserWarning, match="Task 'spam', on the rows to validate on: `f1` is not defined"):
        left_out.warn("validate", [], on=True)
    left_out.warn("validate", [], on=True)
