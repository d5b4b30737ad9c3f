"""Which examples are learned and forgotten again."""

from __future__ import annotations

import copy
import inspect
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_mtl.metrics import ForgettingEvents
from tests.cases import over

Step = tuple[Tensor, Tensor]


def steps(examples: int, seed: int, count: int = 30) -> list[Step]:
    """Draw steps in which examples come again, also within one."""
    chance = torch.Generator().manual_seed(seed)
    rows = torch.randint(examples, (count, 8), generator=chance)
    return [(row, torch.rand(8, generator=chance) < 0.6) for row in rows]


@dataclass
class Reference:
    """Reads presentations one by one."""

    events: dict[int, int] = field(default_factory=dict)
    was_right: dict[int, bool] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)

    def read(self, drawn: list[Step]) -> Reference:
        for step, (rows, right) in enumerate(drawn, 1):
            for row, correct in zip(rows.tolist(), right.tolist(), strict=True):
                self.events[row] = self.events.get(row, 0) + (self.was_right.get(row, False) and not correct)
                self.was_right[row] = correct
                if correct:
                    self.first.setdefault(row, step)
        return self


def check(metric: ForgettingEvents, drawn: list[Step], examples: int) -> None:
    expected = Reference().read(drawn)
    assert metric.compute().tolist() == [expected.events.get(i, 0) for i in range(examples)]
    assert metric.first_learned().tolist() == [expected.first.get(i, -1) for i in range(examples)]
    never = [i in expected.was_right and i not in expected.first for i in range(examples)]
    assert metric.never_learned().tolist() == never
    always = [i in expected.first and expected.events[i] == 0 for i in range(examples)]
    assert metric.unforgettable().tolist() == always


@pytest.mark.parametrize("examples", [2, 5, 40])
@over("seed", range(6))
def test_it_counts_as_one_who_reads_one_by_one(examples: int, seed: int) -> None:
    metric, drawn = ForgettingEvents(examples), steps(examples, seed)
    for number, (rows, right) in enumerate(drawn):
        metric.update(rows, right)
        if number % 10 == 9:
            metric.settle()
    check(metric, drawn, examples)


def test_it_is_what_the_hand_counts() -> None:
    metric = ForgettingEvents(4)
    all_but_the_last = torch.arange(3)
    for right in ([True, False, False], [False, False, True], [True, False, True], [False, False, True]):
        metric.update(all_but_the_last, torch.tensor(right))
    assert metric.compute().tolist() == [2, 0, 0, 0]
    assert metric.first_learned().tolist() == [1, -1, 2, -1]
    assert metric.never_learned().tolist() == [False, True, False, False]  # the last was never presented
    assert metric.unforgettable().tolist() == [False, False, True, False]


def test_an_empty_step_counts_as_a_step() -> None:
    metric = ForgettingEvents(2)
    metric.update(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
    metric.update(torch.tensor([1]), torch.tensor([True]))
    assert metric.first_learned().tolist() == [-1, 2]
    assert metric.compute().tolist() == [0, 0]


@pytest.mark.parametrize("settled", [True, False])
def test_a_state_that_is_loaded_in_the_middle_changes_nothing(settled: bool) -> None:
    drawn, metric = steps(10, seed=3), ForgettingEvents(10)
    for number, (rows, right) in enumerate(drawn):
        metric.update(rows, right)
        if number % 7 == 6:
            metric.settle() if settled else metric.compute()
            state = copy.deepcopy(metric.state_dict())
            metric = ForgettingEvents(10)
            metric.load_state_dict(state)
    check(metric, drawn, 10)
    check(copy.deepcopy(metric), drawn, 10)
    metric.reset()
    for rows, right in drawn:
        metric.update(rows, right)
    check(metric, drawn, 10)


def test_no_example_is_refused() -> None:
    with pytest.raises(ValueError, match="`examples` must be a whole number of at least 1, got 0"):
        ForgettingEvents(0)


@pytest.mark.parametrize(
    ("correct", "says"),
    [
        ([True, False, True], "`correct` must be 1 flags, got 3"),
        ([1], "`correct` must be of type torch.bool, got torch.int64"),
    ],
)
def test_flags_of_another_number_or_type_are_refused(correct: list[Any], says: str) -> None:
    """Also where shapes are not checked, as they are in tests."""
    with pytest.raises(ValueError, match=re.escape(says)):
        inspect.unwrap(ForgettingEvents.update)(ForgettingEvents(5), torch.tensor([0]), torch.tensor(correct))
