"""What sharing gained, and who is best on average."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean

import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl.metrics import DeltaM, MeanRank, delta_m, mean_rank
from tests.cases import over


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.1


@over("seed", range(5))
def test_gains_are_their_definition(seed: int) -> None:
    values, baseline = drawn(5, seed=seed), drawn(5, seed=seed + 50)
    higher, tasks = [True, False, False, True, False], ["a", "a", "b", "c", "c"]
    gains = [
        100 * (n - b) / b * (1 if up else -1)
        for n, b, up in zip(values.tolist(), baseline.tolist(), higher, strict=True)
    ]
    assert delta_m(values, baseline, higher).item() == pytest.approx(fmean(gains), rel=1e-4)
    by_task = [fmean(g for g, of in zip(gains, tasks, strict=True) if of == task) for task in "abc"]
    assert delta_m(values, baseline, higher, "task", tasks).item() == pytest.approx(fmean(by_task), rel=1e-4)


def test_it_gives_a_published_row_with_the_other_sign() -> None:
    """FairGrad on Cityscapes (ICML 2024): 5.18 before its entries were rounded, lower is better."""
    values, baseline = torch.tensor([75.72, 93.68, 0.0134, 32.25]), torch.tensor([74.01, 93.16, 0.0125, 27.77])
    assert delta_m(values, baseline, [True, True, False, False]).item() == pytest.approx(-5.12, abs=0.01)


def test_scale_does_not_count_and_the_baseline_gains_nothing() -> None:
    values, baseline, higher = drawn(4, seed=1), drawn(4, seed=2), [True, False, True, False]
    scale = torch.tensor([1.0, 10.0, 0.01, 3.0])
    assert_close(delta_m(values * scale, baseline * scale, higher), delta_m(values, baseline, higher))
    assert delta_m(baseline, baseline, higher).item() == 0
    assert_close(delta_m(-values, -baseline, [not up for up in higher]), delta_m(values, baseline, higher))


def test_the_metric_averages_over_runs_and_is_merged() -> None:
    runs, baseline, higher = drawn(6, 3, seed=3), drawn(3, seed=4), [True, True, False]
    one, other = (DeltaM(baseline.tolist(), higher_is_better=higher) for _ in range(2))
    for metric, part in ((one, runs[:2]), (other, runs[2:])):
        for values in part:
            metric.update(values)
    one.merge_state(other)
    assert_close(one.compute(), delta_m(runs, baseline, higher).mean())
    loaded = DeltaM(baseline.tolist(), higher_is_better=higher)
    loaded.load_state_dict(one.state_dict())
    assert_close(loaded.compute(), one.compute())
    assert_close(loaded(runs[0]), delta_m(runs[0], baseline, higher))


@over("seed", range(5))
def test_ranks_are_those_of_scipy(seed: int) -> None:
    values = torch.randint(4, (6, 5), generator=torch.Generator().manual_seed(seed)).double()  # with ties
    higher = [True, False, True, True, False]
    signed = torch.where(torch.tensor(higher), -values, values)
    assert_close(mean_rank(values, higher), torch.from_numpy(rankdata(signed, axis=0)).mean(1))


def test_order_of_methods_is_irrelevant_and_ranks_add_up() -> None:
    values, higher = drawn(5, 4, seed=5), [True, False, True, False]
    order = torch.tensor([3, 0, 4, 1, 2])
    assert_close(mean_rank(values[order], higher), mean_rank(values, higher)[order])
    assert mean_rank(values, higher).sum().item() == pytest.approx(15)


@pytest.mark.parametrize("higher", [True, False])
def test_what_is_not_a_number_ranks_last(higher: bool) -> None:
    values = torch.tensor([[0.9], [math.nan], [0.8], [math.nan]])
    assert mean_rank(values, [higher]).tolist() == ([1.0, 3.5, 2.0, 3.5] if higher else [2.0, 3.5, 1.0, 3.5])


def test_mean_ranks_are_averaged_and_merged() -> None:
    seeds, higher = drawn(4, 3, 2, seed=6), [True, False]
    one, other = MeanRank(3, higher_is_better=higher), MeanRank(3, higher_is_better=higher)
    for metric, part in ((one, seeds[:1]), (other, seeds[1:])):
        for values in part:
            metric.update(values)
    one.merge_state(other)
    assert_close(one.compute(), torch.stack([mean_rank(values, higher) for values in seeds]).mean(0))
    loaded = MeanRank(3, higher_is_better=higher)
    loaded.load_state_dict(one.state_dict())
    assert_close(loaded.compute(), one.compute())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeltaM([0.5, 0.0], higher_is_better=[True, True]), "`baseline` must be other than 0, got"),
        (lambda: delta_m(torch.ones(1), torch.zeros(1), [True]), "`baseline` must be other than 0, got"),
        (lambda: DeltaM([0.5], higher_is_better=[True, False]), "`higher_is_better` must be 1 flags, got"),
        (lambda: DeltaM([0.5], higher_is_better=[True], reduction="task"), "`tasks` must be 1 names where"),
        (lambda: mean_rank(torch.ones(2, 2), [True]), "`higher_is_better` must be 2 flags, got"),
        (lambda: MeanRank(0, higher_is_better=[True]), "`methods` must be a whole number of at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
