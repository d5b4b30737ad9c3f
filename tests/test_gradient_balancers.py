"""Gradient balancers: from a Gramian to weights."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import torch
import torchjd.aggregation as peer
from scipy.optimize import nnls
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
from lightning_mtl.balancers._nonnegative import _by_active_set, nonnegative
from lightning_mtl.balancers._projections import projected

from .gradients import APART, DEPENDENT, SAMPLES, cosines, describe, draw

ORACLES = json.loads((Path(__file__).parent / "oracles" / "balancing.json").read_text())
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
samples = pytest.mark.parametrize("rows", SAMPLES, ids=describe)
apart = pytest.mark.parametrize("rows", SAMPLES + APART, ids=describe)


def weigh(balancer: CosineBalancer, rows: Tensor) -> Tensor:
    return balancer(rows @ rows.T)


def lead(balancer: CosineBalancer, rows: Tensor) -> Tensor:
    """The direction."""
    return weigh(balancer, rows) @ rows


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Compare relative to the largest number."""
    assert_close(found, expected, rtol=0, atol=tolerance * max(float(expected.abs().max()), 1e-300))


def observed(balancer: CosineBalancer, losses: list[float], step: int = 0) -> CosineBalancer:
    """Double precision, and losses that were seen."""
    balancer.build([str(number) for number in range(len(losses))])
    balancer.double().observe(torch.tensor(losses, dtype=torch.float64), step=step, epoch=0)
    return balancer


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
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_gives_uniform_weights(make: Make, bad: float) -> None:
    gramian = torch.eye(3)
    gramian[0, 1] = gramian[1, 0] = bad
    assert make()(gramian).tolist() == [1, 1, 1]
    assert make()(torch.zeros(3, 3)).tolist() == [1, 1, 1]


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
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
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
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
@apart
def test_no_task_gets_worse(make: Make, rows: Tensor) -> None:
    assert float(cosines(rows, lead(make(), rows)).min()) >= -1e-10


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


# Conditions of optimality


@apart
def test_mgda_is_the_shortest_convex_combination(rows: Tensor) -> None:
    weights = weigh(MGDA(), rows)
    direction = weights @ rows
    assert weights.min() >= 0
    assert_close(float(weights.sum()), 1.0)
    assert float((rows @ direction).min()) >= float(direction @ direction) * (1 - 1e-9)


@pytest.mark.parametrize("c", [0.01, 0.5, 0.95])
@pytest.mark.parametrize("rows", SAMPLES + APART + DEPENDENT, ids=describe)
def test_cagrad_is_the_best_for_the_worst(c: float, rows: Tensor) -> None:
    mean = rows.mean(0)
    added = weigh(CAGrad(c), rows) - 1 / len(rows)
    radius, scale = c * float(mean.norm()), float(mean @ mean)
    worst = float((rows @ (mean + added @ rows)).min())
    assert float((added @ rows).norm()) <= radius * (1 + 1e-8)
    assert float((added * rows.norm(dim=1)).min()) >= -1e-9 * radius
    bound = added.clamp(min=0) / added.clamp(min=0).sum() @ rows  # weak duality: no direction in the ball does better
    assert worst >= float(mean @ bound + radius * bound.norm()) - 1e-8 * scale


@pytest.mark.parametrize("rows", SAMPLES + APART + DEPENDENT, ids=describe)
def test_dual_proj_is_a_projection(rows: Tensor) -> None:
    added = weigh(DualProj(), rows) - 1 / len(rows)
    products = rows @ (rows.mean(0) + added @ rows)
    size = float(rows.norm(dim=1).max()) * rows.norm(dim=1)
    assert float((products / size).min()) >= -1e-9
    assert float((added * rows.norm(dim=1)).min()) >= -1e-9 * float(rows.mean(0).norm())
    assert float((added * products / size).abs().max()) <= 1e-8


@pytest.mark.parametrize("rows", SAMPLES + APART + DEPENDENT, ids=describe)
def test_upgrad_projects_each_gradient(rows: Tensor) -> None:
    """Against non-negative least squares in the space of the gradients, which never sees a Gramian."""
    units = rows / rows.norm(dim=1, keepdim=True)
    parts = torch.stack([unit + torch.from_numpy(nnls(units.T.numpy(), -unit.numpy())[0]) @ units for unit in units])
    norms = rows.norm(dim=1, keepdim=True)
    assert_close(lead(UPGrad(), rows), (norms * parts).mean(0), rtol=0, atol=1e-9 * float(norms.max()))


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.0, 7.0])
@apart
def test_fair_weights_are_powers_of_the_gains(alpha: float, rows: Tensor) -> None:
    weights = weigh(FairGrad(alpha), rows)
    assert weights.min() > 0
    shares = weights * (rows @ (weights @ rows))  # of the squared length
    assert_close(shares, weights ** (1 - 1 / alpha), rtol=1e-9, atol=1e-10 * float(shares.sum()))


@samples
def test_nash_is_fair_and_of_fixed_length(rows: Tensor) -> None:
    assert_close(weigh(NashMTL(), rows), weigh(FairGrad(1.0), rows))
    assert_close(float(lead(NashMTL(), rows).norm()), len(rows) ** 0.5)
    assert_close(lead(NashMTL(0.5), rows), lead(NashMTL(), rows) * 0.5 / len(rows) ** 0.5)
    assert_close(float(lead(FairGrad(2.0, max_norm=1e-3), rows).norm()), 1e-3)


@samples
def test_imtlg_has_equal_projections(rows: Tensor) -> None:
    weights, direction = weigh(IMTLG(), rows), lead(IMTLG(), rows)
    assert_close(float(weights.sum()), 1.0, rtol=1e-6, atol=1e-6)
    projections = rows @ direction / rows.norm(dim=1)
    same(projections, projections.mean().expand(len(rows)), 1e-7)


@samples
def test_config_has_equal_angles_and_the_length_of_all_projections(rows: Tensor) -> None:
    direction = lead(ConFIG(), rows)
    angles = cosines(rows, direction)
    assert angles.min() > 0
    same(angles, angles.mean().expand(len(rows)), 1e-7)
    assert_close(float(direction.norm()), float((rows @ direction).sum() / direction.norm()))


@apart
def test_aligned_gradients_are_orthogonal(rows: Tensor) -> None:
    left, singular, right = torch.linalg.svd(rows, full_matrices=False)
    same(lead(AlignedMTL(), rows), singular[-1] * (left @ right).mean(0), 1e-6)
    same(lead(AlignedMTL("rmse"), rows), (singular**2).mean().sqrt() * (left @ right).mean(0), 1e-6)
    same(lead(AlignedMTL("median"), rows), singular[len(rows) // 2] * (left @ right).mean(0), 1e-6)


@samples
def test_gradnorm_makes_its_own_loss_zero(rows: Tensor) -> None:
    losses = torch.rand(2, len(rows)) + 0.5
    balancer = observed(observed(GradNorm(1.5), losses[0].tolist()), losses[1].tolist(), step=1)
    norms = weigh(balancer, rows) * rows.norm(dim=1)
    rates = (losses[1] / losses[0]).double()
    assert_close(norms / norms.mean(), (rates**1.5) / (rates**1.5).mean())
    assert_close(float(weigh(balancer, rows).sum()), float(len(rows)))


@pytest.mark.parametrize("rows", [rows for rows in SAMPLES + APART if len(rows) == 2], ids=describe)
def test_of_two_tasks(rows: Tensor) -> None:
    same(lead(PCGrad(), rows) / 2, lead(UPGrad(), rows))
    assert_close(cosines(rows, lead(ConFIG(), rows)).abs(), cosines(rows, lead(IMTLG(), rows)).abs())
    norms, cosine = rows.norm(dim=1), float(cosines(rows[:1], rows[1])[0])
    assert_close(weigh(NashMTL(), rows), 1 / (norms * (1 + cosine) ** 0.5))
    product, squares = float(rows[0] @ rows[1]), norms**2
    first = (float(squares[1]) - product) / (float(squares.sum()) - 2 * product)
    assert_close(float(weigh(MGDA(), rows)[0]), min(max(first, 0.0), 1.0), rtol=1e-9, atol=1e-12)


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
    for step in range(2000):
        balancer.observe(torch.ones(3), step=step, epoch=0)
        total += weigh(balancer, rows) / 2000
    assert_close(total, expected, rtol=0, atol=0.02)


@samples
def test_gradvac_begins_as_pcgrad(rows: Tensor) -> None:
    for order in ("random", "fixed"):
        pair = PCGrad(order), GradVac(order=order)  # type: ignore[arg-type]
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
    balancer = observed(GradNorm(), [1.0, 1.001]).bfloat16()
    assert balancer.float().first.tolist() == pytest.approx([1.0, 1.001], abs=1e-7)


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


# Solvers


@pytest.mark.parametrize("solve", [_by_active_set, lambda m, t: nonnegative(m, t, 1e-12)], ids=["set", "pivots"])
@pytest.mark.parametrize("rows", SAMPLES + DEPENDENT, ids=describe)
def test_nonnegative_least_squares(solve: Callable[..., Any], rows: Tensor) -> None:
    units = rows / rows.norm(dim=1, keepdim=True)
    target = torch.randn(rows.shape[1], dtype=rows.dtype)
    exact, _ = nnls(units.T.numpy(), target.numpy())
    found = torch.from_numpy(solve((units @ units.T).numpy(), (units @ target).numpy()))
    assert found.min() >= 0
    same(found @ units, torch.from_numpy(exact) @ units, 1e-6)


def test_rounding_keeps_no_solver_from_ending() -> None:
    """In single precision, cosines of dependent gradients are not positive semidefinite."""
    for rows in DEPENDENT:
        gramian = (rows.float() @ rows.float().T).double()
        norms = gramian.diagonal().sqrt()
        matrix = (gramian / norms / norms[:, None]).numpy()
        units = torch.from_numpy(projected(matrix, 1e-5)) + torch.eye(len(rows), dtype=rows.dtype)
        assert float((units @ torch.from_numpy(matrix)).min()) >= -1e-3


# Numbers of others


EXACT: dict[str, Make] = {
    "MGDA": MGDA,
    "MGDA_l2": lambda: MGDA("l2"),
    "MGDA_loss": lambda: MGDA("loss"),
    "MGDA_loss+": lambda: MGDA("loss+"),
    "PCGrad_ascending_order_sum": lambda: PCGrad("fixed"),
    "CAGrad_c0.2": lambda: CAGrad(0.2),
    "CAGrad_c0.4": lambda: CAGrad(0.4),
    "CAGrad_c0.5": CAGrad,
    "IMTLG": IMTLG,
    "NashMTL_fixed_point": NashMTL,
    "NashMTL_maxnorm1": lambda: NashMTL(1.0),
    **{f"FairGrad_alpha{alpha}": lambda alpha=alpha: FairGrad(alpha) for alpha in (0.5, 1.0, 2.0, 5.0)},
    "AlignedMTL_min": AlignedMTL,
    "AlignedMTL_median": lambda: AlignedMTL("median"),
    "AlignedMTL_rmse": lambda: AlignedMTL("rmse"),
    "UPGrad": UPGrad,
    "DualProj": DualProj,
    "ConFIG": ConFIG,
}


@pytest.mark.parametrize("matrix", ["A", "B"])
@pytest.mark.parametrize("method", EXACT)
def test_weights_and_direction_are_known(matrix: str, method: str) -> None:
    rows = torch.tensor(ORACLES[matrix]["J"], dtype=torch.float64)
    expected = ORACLES[matrix]["methods"][method]
    weights = weigh(observed(EXACT[method](), ORACLES[matrix]["losses"]), rows)
    assert_close(weights, torch.tensor(expected["alpha"], dtype=rows.dtype), rtol=0, atol=1e-8)
    assert_close(weights @ rows, torch.tensor(expected["d"], dtype=rows.dtype), rtol=0, atol=1e-8)


@pytest.mark.parametrize("matrix", ["A", "B"])
def test_two_steps_of_gradvac_are_known(matrix: str) -> None:
    rows = torch.tensor(ORACLES[matrix]["J"], dtype=torch.float64)
    balancer = observed(GradVac(0.5, order="fixed"), ORACLES[matrix]["losses"])
    for call in ("call1", "call2_same_matrix"):
        expected = ORACLES[matrix]["methods"][f"GradVac_beta0.5_{call}_ascending_sum"]
        assert_close(weigh(balancer, rows), torch.tensor(expected["alpha"], dtype=rows.dtype), rtol=0, atol=1e-8)
        balancer.remember(rows @ rows.T)
        phi = torch.tensor(expected["phi_after"], dtype=rows.dtype)
        assert_close(balancer.phi, phi, rtol=0, atol=1e-8)


EDGES: dict[str, Make] = {"MGDA_exact_d": MGDA, "UPGrad_exact_d": UPGrad, "DualProj": DualProj, "IMTLG": IMTLG}
EDGES |= {"NashMTL": lambda: NashMTL(1.0), "FairGrad2": FairGrad, "AlignedMTL": AlignedMTL, "ConFIG": ConFIG}
EDGES |= {"CAGrad0.5": CAGrad, "PCGrad_seed0": PCGrad}


@pytest.mark.parametrize(
    ("case", "method"), [(c, m) for c, known in ORACLES["edge"].items() for m in known if m != "J"]
)
def test_edges(case: str, method: str) -> None:
    rows = torch.tensor(ORACLES["edge"][case]["J"], dtype=torch.float64)
    expected = torch.tensor(ORACLES["edge"][case][method], dtype=rows.dtype)
    assert_close(lead(EDGES[method](), rows), expected, rtol=1e-8, atol=1e-8)


PEERS: list[tuple[Make, Callable[[], Any]]] = [
    (AlignedMTL, peer.AlignedMTL),
    (lambda: AlignedMTL("median"), lambda: peer.AlignedMTL(scale_mode="median")),
    (lambda: AlignedMTL("rmse"), lambda: peer.AlignedMTL(scale_mode="rmse")),
    (IMTLG, peer.IMTLG),
    (ConFIG, peer.ConFIG),
    (FairGrad, lambda: peer.FairGrad(alpha=2.0)),
]


@pytest.mark.parametrize(("ours", "theirs"), PEERS, ids=lambda make: repr(make()))
def test_agrees_with_torchjd(ours: Make, theirs: Callable[[], Any]) -> None:
    for rows in SAMPLES:
        if len(rows) < 10:
            same(lead(ours(), rows), theirs()(rows), 1e-6)
