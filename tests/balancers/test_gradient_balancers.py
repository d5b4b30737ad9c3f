"""Gradient balancers: from a Gramian to weights."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from typing import Any

import jsonargparse
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl import balancers
from lightning_mtl.balancers import (
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    CosineBalancer,
    DualProj,
    FairGrad,
    GradNorm,
    GradVac,
    NashMTL,
    PCGrad,
    UPGrad,
)
from tests import ROOT
from tests.balancers.gramians import APART, DEPENDENT, SAMPLES, cosines, describe, draw, lead, observed, same, weigh
from tests.cases import over

ORACLES = json.loads((ROOT / "tests/oracles" / "balancing.json").read_text())
EACH: list[Callable[[], CosineBalancer]] = [
    GradNorm,
    MGDA,
    lambda: MGDA("l2"),
    lambda: MGDA("loss+"),
    PCGrad,
    lambda: PCGrad("fixed"),
    GradVac,
    lambda: GradVac(order="fixed"),
    CAGrad,
    lambda: CAGrad(0.1),
    lambda: CAGrad(0.95),
    IMTLG,
    NashMTL,
    lambda: NashMTL(max_norm=0.1),
    AlignedMTL,
    lambda: AlignedMTL("median"),
    lambda: AlignedMTL("rmse"),
    FairGrad,
    lambda: FairGrad(0.5, max_norm=1.0),
    lambda: FairGrad(10.0),
    UPGrad,
    DualProj,
    ConFIG,
]
BY_ORDER = {"PCGrad", "GradVac"}  # they go through the tasks one after the other
WITHOUT_CONFLICT: list[Callable[[], CosineBalancer]] = [
    MGDA,
    NashMTL,
    FairGrad,
    lambda: FairGrad(0.5),
    UPGrad,
    DualProj,
]
WITHOUT_CONFLICT += [ConFIG, lambda: MGDA("l2")]
Make = Callable[[], CosineBalancer]

each = pytest.mark.parametrize("make", EACH, ids=lambda make: repr(make()))
samples = over("rows", SAMPLES, ids=describe)


# All balancers


@each
def test_the_order_of_tasks_is_irrelevant(make: Make) -> None:
    if type(make()).__name__ in BY_ORDER:
        pytest.skip("goes through the tasks one after the other")
    for rows in SAMPLES + APART:
        order = torch.randperm(len(rows))
        weights = weigh(make(), rows)
        same(cosines(rows, weigh(make(), rows[order]) @ rows[order]), cosines(rows, weights @ rows), 1e-7)
        if len(rows) < 10:
            same(weigh(make(), rows[order]) * rows[order].norm(dim=1), (weights * rows.norm(dim=1))[order], 1e-7)


@each
def test_a_zero_gradient_leaves_the_problem(make: Make) -> None:
    for rows in (draw(1, 5, 0), draw(2, 5, 0), draw(4, 9, 1)):
        for place in (0, len(rows)):
            wider = torch.cat([rows[:place], torch.zeros(1, rows.shape[1], dtype=rows.dtype), rows[place:]])
            alone = make()
            if alone.random:  # random orders are drawn for those that are there
                alone.observe(torch.ones(len(rows)), step=3, epoch=0)
            found = weigh(alone, wider)
            assert found[place] == 1
            assert_close(torch.cat([found[:place], found[place + 1 :]]), weigh(alone, rows))


@each
def test_what_is_not_finite_gives_uniform_weights(make: Make) -> None:
    for bad in (math.nan, math.inf, -math.inf):
        gramian = torch.eye(3)
        gramian[0, 1] = gramian[1, 0] = bad
        assert make()(gramian).tolist() == [1, 1, 1]
    assert make()(torch.zeros(3, 3)).tolist() == [1, 1, 1]


@each
@over("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_are_finite_and_of_the_gramians_type(make: Make, dtype: torch.dtype) -> None:
    for rows in (
        *SAMPLES,
        *DEPENDENT,
        -SAMPLES[0].abs(),
        draw(2, 5, 0)[[0, 0]],
        draw(2, 5, 0)[[0]] * torch.tensor([[1], [-1]]),
    ):
        weights = weigh(make(), rows.to(dtype))
        assert weights.dtype == dtype
        assert weights.isfinite().all()


@each
@over("dtype", [torch.float64, torch.float32])
def test_the_scale_of_all_gradients_does_not_turn_the_direction(make: Make, dtype: torch.dtype) -> None:
    for rows in SAMPLES[::4]:
        before = lead(make(), rows.to(dtype)).double()
        for scale in (2.0**-40, 2.0**40):
            same(cosines(rows, lead(make(), (rows * scale).to(dtype)).double()), cosines(rows, before), 1e-5)


@each
def test_a_single_task_has_the_weight_of_the_formula(make: Make) -> None:
    rows = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64)
    norm, balancer = float(rows.norm()), make()
    expected = {"NashMTL": 1 / norm, "CAGrad": 1 + getattr(balancer, "c", 0.0)}.get(type(balancer).__name__, 1.0)
    if isinstance(balancer, FairGrad):
        expected = norm ** (-2 * balancer.alpha / (1 + balancer.alpha))
    if isinstance(balancer, MGDA) and balancer.normalization in ("l2", "loss+"):
        expected = 1 / norm
    longest = getattr(balancer, "max_norm", None)
    assert_close(float(weigh(balancer, rows)), min(expected, (longest or math.inf) / norm))


@each
def test_forward_changes_nothing(make: Make) -> None:
    balancer, rows = observed(make(), [1.0, 2.0, 0.5, 1.0, 3.0]), draw(5, 9, 0)
    before = {name: value.clone() for name, value in balancer.state_dict().items()}
    assert_close(weigh(balancer, rows), weigh(balancer, rows), rtol=0, atol=0)
    assert_close(dict(balancer.state_dict()), before, rtol=0, atol=0, equal_nan=True)


@each
def test_made_by_its_signature(make: Make) -> None:
    kind = type(make())
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(balancers.GradientBalancer, "balancer")
    again = parser.instantiate_classes(parser.parse_args([f"--balancer={kind.__module__}.{kind.__name__}"])).balancer
    assert repr(again) == repr(kind())
    names = inspect.signature(kind).parameters if "__init__" in vars(kind) else ()
    assert all(f"{name}=" in repr(again) for name in names)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (GradNorm, {"alpha": -1.0}),
        (GradVac, {"beta": 1.5}),
        (CAGrad, {"c": 1.0}),
        (NashMTL, {"max_norm": 0.0}),
        (FairGrad, {"alpha": 0.0}),
        (FairGrad, {"max_norm": -1.0}),
    ],
)
def test_arguments_out_of_range_are_refused(kind: type[CosineBalancer], options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"`{name}` must be .*, got {value!r}\. "):
        kind(**options)


# Promises


@pytest.mark.parametrize("make", WITHOUT_CONFLICT, ids=lambda make: repr(make()))
def test_no_task_gets_worse(make: Make) -> None:
    for rows in SAMPLES + APART:
        assert float(cosines(rows, lead(make(), rows)).min()) >= -1e-10, describe(rows)


@pytest.mark.parametrize("make", [MGDA, UPGrad, DualProj], ids=lambda make: make.__name__)
@pytest.mark.parametrize("rows", DEPENDENT, ids=describe)
def test_no_task_gets_worse_where_gradients_depend_on_each_other(make: Make, rows: Tensor) -> None:
    direction = lead(make(), rows)
    assert float((rows @ direction / rows.norm(dim=1)).min()) >= -1e-8 * float(rows.norm(dim=1).max())


@pytest.mark.parametrize("make", [UPGrad, NashMTL, ConFIG], ids=lambda make: make.__name__)
def test_single_precision_is_enough(make: Make) -> None:
    for rows in SAMPLES + APART:
        exact = cosines(rows, lead(make(), rows))
        gramian = (rows @ rows.T).float()
        assert_close(cosines(rows, make()(gramian).double() @ rows), exact, rtol=0, atol=2e-4)


@pytest.mark.parametrize("make", [NashMTL, ConFIG, IMTLG], ids=lambda make: make.__name__)
@samples
def test_the_scale_of_each_gradient_does_not_turn_the_direction(make: Make, rows: Tensor) -> None:
    scales = torch.logspace(-3, 3, len(rows), dtype=rows.dtype)[torch.randperm(len(rows)), None]
    before, after = cosines(rows, lead(make(), rows)), cosines(rows, lead(make(), rows * scales))
    after = after * (after[0] * before[0]).sign() if make is IMTLG else after  # the weights' sum may change its sign
    same(after, before, 1e-7)


@pytest.mark.parametrize("make", [UPGrad, ConFIG, lambda: PCGrad("fixed")], ids=lambda make: repr(make()))
@samples
def test_the_direction_grows_with_each_gradient(make: Make, rows: Tensor) -> None:
    one, two = (torch.rand(len(rows), 1, dtype=rows.dtype) + 0.1 for _ in range(2))
    same(lead(make(), rows * (one + two)), lead(make(), rows * one) + lead(make(), rows * two))


# Orders and what is kept


def test_random_orders_are_of_the_seed_and_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, losses = draw(8, 9, 1, common=0.0), torch.ones(8)

    def weights(kind: type[PCGrad] | type[GradVac], seed: int | None, step: int) -> list[float]:
        balancer = kind(seed=seed)
        balancer.observe(losses, step=step, epoch=0)
        found: list[float] = weigh(balancer, rows).tolist()
        return found

    for kind in (PCGrad, GradVac):
        assert weights(kind, 1, 2) == weights(kind, 1, 2)
        assert weights(kind, 1, 2) != weights(kind, 1, 3)
        assert weights(kind, 1, 2) != weights(kind, 2, 2)
        assert weights(kind, None, 2) == weights(kind, 0, 2)
        monkeypatch.setenv("PL_GLOBAL_SEED", "7")
        assert weights(kind, None, 2) == weights(kind, 7, 2)
        monkeypatch.delenv("PL_GLOBAL_SEED")


def test_random_orders_are_uniform() -> None:
    rows, expected = (
        torch.tensor(values, dtype=torch.float64)
        for values in (
            ORACLES["B"]["J"],
            ORACLES["B"]["methods"]["PCGrad_expected_over_orders_sum"]["alpha"],
        )
    )
    balancer, total = PCGrad(), torch.zeros(3, dtype=torch.float64)
    for step in range(600):
        balancer.observe(torch.ones(3), step=step, epoch=0)
        total += weigh(balancer, rows) / 600
    assert_close(total, expected, rtol=0, atol=0.04)


@samples
def test_gradvac_begins_as_pcgrad(rows: Tensor) -> None:
    for order in ("random", "fixed"):
        pair = PCGrad(order), GradVac(order=order)
        same(weigh(pair[1], rows), weigh(pair[0], rows))


def test_gradvac_keeps_pairs_that_are_not_there() -> None:
    balancer, rows = GradVac(0.5, order="fixed"), draw(4, 6, 0)
    balancer.build(["a", "b", "c", "d"])
    balancer.remember(rows @ rows.T)
    before = balancer.phi.clone()
    some = rows[[3, 1]]
    balancer.remember(some @ some.T, tasks=[3, 1])
    changed = (balancer.phi != before).nonzero().tolist()
    assert changed == [[1, 3], [3, 1]]
    balancer.remember(torch.full((4, 4), math.nan))
    assert balancer.phi.isfinite().all()


def test_what_is_kept_follows_the_names() -> None:
    norm, vac = GradNorm(), GradVac(0.5, order="fixed")
    rows = draw(3, 6, 0)
    for balancer in (norm, vac):
        balancer.build(["a", "b", "c"])
        balancer.observe(torch.tensor([1.0, 2.0, 3.0]), step=0, epoch=0)
        balancer.remember(rows @ rows.T)
    phi = vac.phi.clone()
    for balancer in (norm, vac):
        balancer.build(["c", "new", "a"])
    assert norm.first.nan_to_num(-1).tolist() == [3, -1, 1]
    assert_close(vac.phi[[0, 2]][:, [0, 2]], phi[[2, 0]][:, [2, 0]])
    assert vac.phi[1].isnan().all()
    again = GradVac(0.5, order="fixed")
    again.build(["c", "new", "a"])
    again.load_state_dict(vac.state_dict())
    assert_close(weigh(again, rows), weigh(vac, rows), rtol=0, atol=0)


def test_what_is_kept_stays_in_single_precision() -> None:
    balancer = GradNorm()
    observed(balancer, [1.0, 1.001]).bfloat16()
    assert balancer.first.dtype == torch.float64
    assert balancer.first.tolist() == pytest.approx([1.0, 1.001], abs=1e-7)


def test_a_step_with_some_tasks_uses_their_losses() -> None:
    rows = draw(2, 5, 0)
    whole = observed(MGDA("loss"), [0.5, 7.0, 2.0])
    assert_close(whole(rows @ rows.T, tasks=[2, 0]), observed(MGDA("loss"), [2.0, 0.5])(rows @ rows.T))
    late = GradNorm()
    for step, (losses, tasks) in enumerate([([1.0], [1]), ([4.0, 0.5], [0, 1]), ([2.0, 0.5], [0, 1])]):
        late.observe(torch.tensor(losses), step=step, epoch=0, tasks=tasks)
        late.build(["0", "1"])
    assert late.first.tolist() == [4, 1]
    assert_close(late(torch.eye(2)), torch.ones(2))


def test_gradients_are_not_divided_by_losses_below_zero() -> None:
    with pytest.raises(ValueError, match=r"`losses` must be above 0 .*, got -1\.0\. Use normalization='l2'\."):
        observed(MGDA("loss"), [1.0, -1.0])(torch.eye(2))
    assert_close(observed(MGDA("loss"), [1.0, math.nan])(torch.eye(2)), torch.full((2,), 0.5))
