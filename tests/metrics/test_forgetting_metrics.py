"""What is lost and gained from stage to stage."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from statistics import fmean

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl.metrics import BackwardTransfer, Drawdown, Forgetting, ForwardTransfer, Kept, ScoreMatrix, WorstCase
from tests.cases import over

MATRIX = torch.tensor([[0.9, 0.1, 0.1], [0.95, 0.85, 0.2], [0.8, 0.88, 0.9]])
METRICS: dict[str, Callable[[int], ScoreMatrix]] = {
    "forgetting": Forgetting,
    "backward": BackwardTransfer,
    "forward": lambda tasks: ForwardTransfer(tasks, initial=torch.linspace(0.1, 0.3, tasks).tolist()),
}


def updated(metric: ScoreMatrix, matrix: Tensor) -> ScoreMatrix:
    for stage, scores in enumerate(matrix):
        metric.update(stage, scores)
    return metric


def reference(name: str, matrix: list[list[float]], learned: Sequence[int], initial: Sequence[float]) -> float:
    """Read the figure off a full matrix, entry by entry."""
    last, tasks = len(matrix) - 1, range(len(learned))
    if name == "forward":
        return fmean(matrix[learned[j] - 1][j] - initial[j] for j in tasks if learned[j] > 0)
    earlier = [j for j in tasks if learned[j] < last]
    if name == "backward":
        return fmean(matrix[last][j] - matrix[learned[j]][j] for j in earlier)
    return fmean(max(row[j] for row in matrix[:last]) - matrix[last][j] for j in earlier)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("tasks", [2, 3, 7])
@over("seed", range(5))
def test_the_figures_are_their_definitions(name: str, tasks: int, seed: int) -> None:
    matrix = torch.rand(tasks, tasks, generator=torch.Generator().manual_seed(seed))
    metric = updated(METRICS[name](tasks), matrix)
    expected = reference(name, matrix.tolist(), range(tasks), torch.linspace(0.1, 0.3, tasks).tolist())
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)
    assert metric.per_task().nanmean().item() == pytest.approx(expected, abs=1e-6)


@over("seed", range(5))
def test_stages_may_hold_several_tasks_or_come_in_another_order(seed: int) -> None:
    learned = [2, 0, 0, 3, 1]
    matrix = torch.rand(4, 5, generator=torch.Generator().manual_seed(seed))
    made = {
        "forgetting": Forgetting(5, learned_at=learned),
        "backward": BackwardTransfer(5, learned_at=learned),
        "forward": ForwardTransfer(5, initial=[0.5] * 5, learned_at=learned),
    }
    for name, metric in made.items():
        expected = reference(name, matrix.tolist(), learned, [0.5] * 5)
        assert updated(metric, matrix).compute().item() == pytest.approx(expected, abs=1e-6)


def test_the_definitions_differ_on_one_matrix() -> None:
    assert updated(Forgetting(3), MATRIX).compute().item() == pytest.approx(0.060)
    assert updated(BackwardTransfer(3), MATRIX).compute().item() == pytest.approx(-0.035)
    assert updated(ForwardTransfer(3, initial=[0.1] * 3), MATRIX).compute().item() == pytest.approx(0.05)
    best = MATRIX.amax(0)  # what others take: the last stage among the best, or what was just learned
    assert (best - MATRIX[2])[:2].mean().item() == pytest.approx(0.075)
    assert (MATRIX.diagonal() - MATRIX[2])[:2].mean().item() == pytest.approx(0.035)


def test_figures_are_those_of_the_last_stage_so_far() -> None:
    metric = Forgetting(3)
    metric.update(0, MATRIX[0])
    assert metric.compute().isnan()
    metric.update(1, MATRIX[1])
    assert metric.compute().item() == pytest.approx(-0.05)  # 0.9 became 0.95
    metric.update(2, MATRIX[2])
    assert_close(metric.matrix, MATRIX)
    assert metric.compute().item() == pytest.approx(0.06)


def test_unknown_scores_are_left_out_and_may_come_later() -> None:
    metric = Forgetting(3)
    for stage, scores in enumerate([[0.9, math.nan, math.nan], [math.nan, 0.85, math.nan], [0.8, math.nan, 0.9]]):
        metric.update(stage, torch.tensor(scores))
    assert_close(metric.per_task(), torch.tensor([0.1, math.nan, math.nan]), equal_nan=True)
    metric.update(2, torch.tensor([math.nan, 0.88, math.nan]))
    assert_close(metric.per_task(), torch.tensor([0.1, -0.03, math.nan]), equal_nan=True)
    metric.update(2, torch.tensor([0.7, math.nan, math.nan]))
    assert metric.per_task()[0].item() == pytest.approx(0.2)


@pytest.mark.parametrize("name", METRICS)
def test_what_two_know_is_merged(name: str) -> None:
    one, other = METRICS[name](3), METRICS[name](3)
    updated(one, torch.where(torch.eye(3, dtype=torch.bool), MATRIX, math.nan))
    updated(other, torch.where(torch.eye(3, dtype=torch.bool), math.nan, MATRIX))
    one.compute()
    one.merge_state(other)
    assert_close(one.compute(), updated(METRICS[name](3), MATRIX).compute())


def evaluations(tasks: int = 3, count: int = 12) -> Tensor:
    return torch.rand(count, tasks, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("smoothing", [0.0, 0.6])
def test_the_drawdown_is_best_less_latest(smoothing: float) -> None:
    metric = Drawdown(3, smoothing=smoothing)
    shown: list[list[float]] = []
    for scores in evaluations():
        metric.update(scores)
        past = shown[-1] if shown else scores.tolist()
        shown.append([smoothing * a + (1 - smoothing) * b for a, b in zip(past, scores.tolist(), strict=True)])
        expected = [max(column) - column[-1] for column in zip(*shown, strict=True)]
        assert_close(metric.compute(), torch.tensor(expected))


def test_a_task_without_a_score_has_no_drawdown_and_a_missing_one_changes_nothing() -> None:
    metric = Drawdown(2)
    for scores in ([0.9, math.nan], [0.7, math.nan], [math.nan, math.nan]):
        metric.update(torch.tensor(scores))
    assert_close(metric.compute(), torch.tensor([0.2, math.nan]), equal_nan=True)


def test_the_worst_case_is_the_lowest_on_the_way() -> None:
    metric = WorstCase(3)
    metric.switch(0)
    metric.update(torch.tensor([0.2, 0.1, 0.0]))
    metric.update(torch.tensor([0.9, 0.1, 0.0]))
    assert_close(metric.compute(), torch.tensor([0.2, 0.1, 0.0]))
    assert metric.min_accuracy().isnan()
    assert metric.wc_accuracy().item() == pytest.approx(0.9)  # of one task, its own
    metric.switch(1)
    assert metric.compute().isnan().all()
    metric.update(torch.tensor([0.3, 0.5, 0.1]))
    metric.update(torch.tensor([0.8, 0.85, 0.1]))
    assert_close(metric.compute(), torch.tensor([0.3, 0.5, 0.1]))
    assert metric.min_accuracy().item() == pytest.approx(0.3)
    assert metric.wc_accuracy().item() == pytest.approx(0.85 / 2 + 0.3 / 2)
    metric.switch(2)
    metric.update(torch.tensor([0.7, 0.4, 0.6]))
    metric.update(torch.tensor([0.6, 0.6, 0.9]))
    assert_close(metric.compute(), torch.tensor([0.6, 0.4, 0.6]))
    assert metric.min_accuracy().item() == pytest.approx((0.3 + 0.4) / 2)  # the first fell lower in the second stage
    assert metric.wc_accuracy().item() == pytest.approx(0.9 / 3 + 2 / 3 * 0.35)


@over("seed", range(5))
def test_the_worst_case_is_its_definition(seed: int) -> None:
    tasks, each = 4, 5
    scores = torch.rand(tasks * each, tasks, generator=torch.Generator().manual_seed(seed))
    metric = WorstCase(tasks)
    for i, row in enumerate(scores):
        if i % each == 0:
            metric.switch(i // each)
        metric.update(row)
    lowest = [scores[(j + 1) * each :, j].min().item() for j in range(tasks - 1)]
    assert metric.min_accuracy().item() == pytest.approx(fmean(lowest))
    expected = scores[-1, -1].item() / tasks + (1 - 1 / tasks) * fmean(lowest)
    assert metric.wc_accuracy().item() == pytest.approx(expected)
    assert_close(metric.compute(), scores[-each:].amin(0))


def give(metric: Kept, stage: int, scores: Tensor) -> None:
    if isinstance(metric, WorstCase):
        metric.switch(stage)
    metric.update(*([stage] if isinstance(metric, ScoreMatrix) else []), scores)


EVERY: dict[str, Callable[[int], Kept]] = {
    **METRICS,
    "drawdown": lambda tasks: Drawdown(tasks, smoothing=0.3),
    "worst": WorstCase,
}


@pytest.mark.parametrize("name", EVERY)
def test_a_state_that_is_loaded_in_the_middle_changes_nothing(name: str) -> None:
    straight, saved = EVERY[name](3), EVERY[name](3)
    for stage, scores in enumerate(MATRIX):
        give(straight, stage, scores)
        give(saved, stage, scores)
        state = copy.deepcopy(saved.state_dict())
        saved = EVERY[name](3)
        saved.load_state_dict(state)
        assert_close(saved.compute(), straight.compute(), equal_nan=True)
    other = EVERY[name](3)
    other.load_state_dict(state)
    give(other, 0, torch.zeros(3))  # what was loaded is not shared
    for key, value in saved.state_dict().items():
        assert_close(value, state[key], equal_nan=True)


@pytest.mark.parametrize("name", EVERY)
def test_they_are_reset_copied_and_called(name: str) -> None:
    metric = EVERY[name](3)
    for stage, scores in enumerate(MATRIX):
        give(metric, stage, scores)
    before, copied = metric.compute(), copy.deepcopy(metric)
    give(metric, 0, torch.zeros(3))
    assert_close(copied.compute(), before, equal_nan=True)
    copied.reset()
    for stage, scores in enumerate(MATRIX):
        give(copied, stage, scores)
    assert_close(copied.compute(), before, equal_nan=True)
    if not isinstance(copied, WorstCase):
        copied(*([0] if isinstance(copied, ScoreMatrix) else []), torch.zeros(3))
        assert_close(copied.compute(), metric.compute(), equal_nan=True)


def test_half_precision_leaves_them_alone() -> None:
    metric = updated(Forgetting(3), MATRIX)
    metric.set_dtype(torch.half)
    assert metric.matrix.dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Forgetting(0), "`tasks` must be a whole number of at least 1, got 0"),
        (lambda: Forgetting(2, learned_at=[0]), "`learned_at` must be 2 stages, got"),
        (lambda: Forgetting(2, learned_at=[0, -1]), r"`learned_at\[1\]` must be a whole number of at least 0, got -1"),
        (lambda: BackwardTransfer(3, stages=2), "`stages` must be a whole number of at least 3, got 2"),
        (lambda: ForwardTransfer(3, initial=[0.1]), "`initial` must be 3 scores, got"),
        (lambda: Forgetting(2).update(2, torch.zeros(2)), "`stage` must be a whole number from 0 to 1, got 2"),
        (lambda: Forgetting(2).update(1, torch.zeros(3)), "`scores` must be 2 numbers, got 3"),
        (lambda: Drawdown(0), "`tasks` must be a whole number of at least 1"),
        (lambda: Drawdown(1, smoothing=1.0), "`smoothing` must be at least 0 and below 1, got 1.0"),
        (lambda: WorstCase(0), "`tasks` must be a whole number of at least 1"),
        (lambda: WorstCase(2).switch(2), "`current` must be a whole number from 0 to 1, got 2"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("metric", [Drawdown(3), WorstCase(3)], ids=["drawdown", "worst case"])
def test_another_number_of_scores_is_refused(metric: Drawdown | WorstCase) -> None:
    with pytest.raises(ValueError, match="`scores` must be 3 numbers, got 1"):
        metric.update(torch.tensor([0.5]))


def test_the_worst_case_is_not_known_before_a_task_is_learned() -> None:
    metric = WorstCase(2)
    metric.update(torch.tensor([0.9, 0.1]))
    assert metric.wc_accuracy().isnan()
