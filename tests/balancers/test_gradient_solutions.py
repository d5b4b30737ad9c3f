"""Gradient balancers: their weights solve the problems they are defined by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl.balancers import (
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    GradNorm,
    NashMTL,
    PCGrad,
    UPGrad,
)
from lightning_mtl.balancers._nonnegative import _by_active_set, nonnegative
from lightning_mtl.balancers._projections import projected
from tests.balancers.gramians import APART, DEPENDENT, SAMPLES, cosines, describe, lead, observed, same, weigh
from tests.cases import over

samples = over("rows", SAMPLES, ids=describe)
apart = over("rows", SAMPLES + APART, ids=describe)


# Conditions of optimality


@apart
def test_mgda_is_the_shortest_convex_combination(rows: Tensor) -> None:
    weights = weigh(MGDA(), rows)
    direction = weights @ rows
    assert weights.min() >= 0
    assert_close(float(weights.sum()), 1.0)
    shorter = cosines(rows, direction) - direction.norm() / rows.norm(dim=1)  # towards a gradient, were it below zero
    assert shorter.min() >= -1e-12


@pytest.mark.parametrize("c", [0.01, 0.5, 0.95])
@over("rows", SAMPLES + APART + DEPENDENT, ids=describe)
def test_cagrad_is_the_best_for_the_worst(c: float, rows: Tensor) -> None:
    mean = rows.mean(0)
    added = weigh(CAGrad(c), rows) - 1 / len(rows)
    radius, scale = c * float(mean.norm()), float(mean @ mean)
    worst = float((rows @ (mean + added @ rows)).min())
    assert float((added @ rows).norm()) <= radius * (1 + 1e-8)
    assert float((added * rows.norm(dim=1)).min()) >= -1e-9 * radius
    bound = added.clamp(min=0) / added.clamp(min=0).sum() @ rows  # weak duality: no direction in the ball does better
    assert worst >= float(mean @ bound + radius * bound.norm()) - 1e-8 * scale


@over("rows", SAMPLES + APART + DEPENDENT, ids=describe)
def test_dual_proj_is_a_projection(rows: Tensor) -> None:
    added = weigh(DualProj(), rows) - 1 / len(rows)
    products = rows @ (rows.mean(0) + added @ rows)
    size = float(rows.norm(dim=1).max()) * rows.norm(dim=1)
    assert float((products / size).min()) >= -1e-9
    assert float((added * rows.norm(dim=1)).min()) >= -1e-9 * float(rows.mean(0).norm())
    assert float((added * products / size).abs().max()) <= 1e-8


@over("rows", SAMPLES + APART + DEPENDENT, ids=describe)
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


@over("rows", [rows for rows in SAMPLES + APART if len(rows) == 2], ids=describe)
def test_of_two_tasks(rows: Tensor) -> None:
    same(lead(PCGrad(), rows) / 2, lead(UPGrad(), rows))
    assert_close(cosines(rows, lead(ConFIG(), rows)).abs(), cosines(rows, lead(IMTLG(), rows)).abs())
    norms, cosine = rows.norm(dim=1), float(cosines(rows[:1], rows[1])[0])
    assert_close(weigh(NashMTL(), rows), 1 / (norms * (1 + cosine) ** 0.5))
    product, squares = float(rows[0] @ rows[1]), norms**2
    first = (float(squares[1]) - product) / (float(squares.sum()) - 2 * product)
    assert_close(float(weigh(MGDA(), rows)[0]), min(max(first, 0.0), 1.0), rtol=1e-9, atol=1e-12)


# Solvers


@pytest.mark.parametrize("solve", [_by_active_set, lambda m, t: nonnegative(m, t, 1e-12)], ids=["set", "pivots"])
@over("rows", SAMPLES + DEPENDENT, ids=describe)
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
