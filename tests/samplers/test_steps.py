"""How many steps an epoch has, by each policy, worked out by hand."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest

from lightning_mtl.samplers import Explicit, MultiTaskSampler, Proportional, Rows, Uniform, refuse_steps
from lightning_mtl.samplers._epoch import steps_of

NAN = math.nan


def streams(a: int = 100, b: int = 40) -> dict[str, Rows]:
    return {"a": Rows(a, 10, name="a"), "b": Rows(b, 5, name="b")}


@pytest.mark.parametrize(
    ("asked", "all_sources", "uniform", "proportional", "explicit"),
    [
        # passes take 10 and 8 steps where all are read; at rates 1/2 and 1/2: 20 and 16; 100/140 and 40/140: 14 and 28;
        # 3/4 and 1/4: 13.33 and 32
        (None, 10, 18, 18, 18),
        ("longest", 10, 20, 28, 32),
        ("shortest", 8, 16, 14, 13),
        ("proportional", 10, 18, 18, 18),  # 140 rows by 10 + 5 a step; the 10 + 8 batches that there are
        ({"a": 1}, 10, 20, 14, 14),
        ({"b": 1.5}, 12, 24, 42, 48),
        ({"a": 0.01}, 1, 1, 1, 1),
        (7, 7, 7, 7, 7),
    ],
)
def test_every_policy_by_hand(asked: Any, all_sources: int, uniform: int, proportional: int, explicit: int) -> None:
    def steps(rule: Any, batches: Any) -> int:
        return len(MultiTaskSampler(streams(), rule, batches=batches, steps=asked))

    assert [
        steps(None, "all"),
        steps(Uniform(), "homogeneous"),
        steps(Proportional(), "homogeneous"),
        steps(Explicit({"a": 3.0, "b": 1.0}), "homogeneous"),
    ] == [all_sources, uniform, proportional, explicit]


@pytest.mark.parametrize("batches", ["stratified", "mixed"])
@pytest.mark.parametrize(
    ("asked", "steps"),
    [(None, 18), ("proportional", 18), ("longest", 25), ("shortest", 10), ({"a": 2}, 50), ({"b": 1}, 10), (3, 3)],
)
def test_policies_by_hand_where_a_batch_holds_rows_of_several_sources(batches: Any, asked: Any, steps: int) -> None:
    """A batch of 8 holds 4 rows of each of 100 and 40."""
    assert len(MultiTaskSampler(streams(), batches=batches, batch=8, steps=asked)) == steps


def test_a_source_that_is_not_drawn_at_first_has_no_pass_to_count() -> None:
    rule = Explicit({"a": 1.0, "b": 0.0})
    assert len(MultiTaskSampler(streams(), rule, steps="shortest", batches="all")) == 8
    for asked in ("longest", "shortest", {"b": 1}):
        with pytest.raises(ValueError, match="must be a number where a source does not know its rows, or is not drawn"):
            MultiTaskSampler(streams(), rule, steps=asked)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (0, "`steps_per_epoch` must be a whole number of at least 1, got 0"),
        (-3, "`steps_per_epoch` must be a whole number of at least 1, got -3"),
        ({"c": 1}, r"must name one of the sources \['a', 'b'\] .*, got \{'c': 1\}\. Write \{'a': 1\}"),
        ({"a": 1, "b": 1}, r"must name one of the sources .* got \{'a': 1, 'b': 1\}"),
        ({}, r"must name one of the sources .* got \{\}"),
        ({"a": 0}, r"`steps_per_epoch\['a'\]` must be finite and above 0"),
        ({"a": NAN}, r"`steps_per_epoch\['a'\]` must be finite and above 0"),
    ],
    ids=str,
)
def test_what_is_no_number_of_steps(asked: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        steps_of(asked, ["a", "b"], [10.0, 8.0], [100, 40], 15.0)


def test_a_policy_that_there_is_not() -> None:
    without_type_check = inspect.unwrap(refuse_steps)
    for asked in ("longest", "shortest", "proportional", None, {"a": 1}):
        without_type_check(asked)
    with pytest.raises(ValueError, match=r"one of \['longest', 'shortest', 'proportional'\], or .*, got 'longst'"):
        without_type_check("longst")


@pytest.mark.parametrize("asked", [None, "longest", "shortest", "proportional", {"b": 1}], ids=str)
def test_sources_that_do_not_know_their_rows_need_a_number(asked: Any) -> None:
    arguments: Any = (["a", "b"], [10.0, NAN], [100, NAN], NAN)
    with pytest.raises(
        ValueError, match=r"must be a number where a source does not know its rows.*'b': nan.*Give a number"
    ):
        steps_of(asked, *arguments)
    assert steps_of(5, *arguments) == 5
    assert steps_of({"a": 2}, *arguments) == 20
