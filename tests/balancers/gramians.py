"""Gradients to balance, of which only the Gramian is seen."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl.balancers import CosineBalancer


def draw(tasks: int, size: int, seed: int, spread: float = 1.0, common: float = 0.3) -> Tensor:
    """Gradients in float64, a row for each task: with something in common, and norms up to `spread` apart, one each way."""
    random = torch.Generator().manual_seed(1000 * tasks + 10 * size + seed)
    rows = torch.randn(tasks, size, generator=random, dtype=torch.float64)
    rows += common * torch.randn(size, generator=random, dtype=torch.float64)
    powers = torch.linspace(-0.5, 0.5, tasks, dtype=torch.float64) if tasks > 1 else torch.zeros(1, dtype=torch.float64)
    return rows * (spread ** powers[torch.randperm(tasks, generator=random)])[:, None]


SHAPES = [(2, 3), (3, 5), (5, 9), (17, 30), (40, 100)]
SAMPLES = [draw(*shape, seed) for shape in SHAPES for seed in range(2)]
"""Fewer tasks than parameters, many in conflict."""
APART = [draw(*shape, 2, 1e6) for shape in SHAPES] + [draw(2, 40, 0, 1e3), draw(8, 60, 0, 1e3)]
"""The same, with norms far apart."""
DEPENDENT = [draw(tasks, size, 0) for tasks, size in ((3, 2), (6, 3), (12, 5), (40, 20))]
"""More tasks than parameters."""


def describe(rows: Tensor) -> str:
    norms = rows.norm(dim=1)
    return f"{len(rows)}x{rows.shape[1]}-{float(norms.max() / norms.min()):.0e}"


def cosines(rows: Tensor, direction: Tensor) -> Tensor:
    """Cosines between gradients and a direction; zeros if it is zero."""
    length = direction.norm()
    found: Tensor = rows / rows.norm(dim=1, keepdim=True) @ (direction / length if length > 0 else direction)
    return found


def weigh(balancer: CosineBalancer, rows: Tensor) -> Tensor:
    weights: Tensor = balancer(rows @ rows.T)
    return weights


def lead(balancer: CosineBalancer, rows: Tensor) -> Tensor:
    """The direction."""
    direction: Tensor = weigh(balancer, rows) @ rows
    return direction


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Compare relative to the largest number."""
    assert_close(found, expected, rtol=0, atol=tolerance * max(float(expected.abs().max()), 1e-300))


def observed(balancer: CosineBalancer, losses: list[float], step: int = 0) -> CosineBalancer:
    """Double precision, and losses that were seen."""
    balancer.build([str(number) for number in range(len(losses))])
    balancer.double().observe(torch.tensor(losses, dtype=torch.float64), step=step, epoch=0)
    return balancer
