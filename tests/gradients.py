"""Gradients to balance, of which only the Gramian is seen."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(tasks: int, size: int, seed: int, spread: float = 1.0, common: float = 0.3) -> Tensor:
    """Gradients in float64, a row for each task: with something in common, and norms up to `spread` apart, one each way."""
    random = torch.Generator().manual_seed(1000 * tasks + 10 * size + seed)
    rows = torch.randn(tasks, size, generator=random, dtype=torch.float64)
    rows += common * torch.randn(size, generator=random, dtype=torch.float64)
    powers = torch.linspace(-0.5, 0.5, tasks, dtype=torch.float64) if tasks > 1 else torch.zeros(1, dtype=torch.float64)
    return rows * (spread ** powers[torch.randperm(tasks, generator=random)])[:, None]


SHAPES = [(2, 3), (2, 40), (3, 5), (5, 9), (8, 60), (17, 30), (40, 100)]
SAMPLES = [draw(*shape, seed) for shape in SHAPES for seed in range(3)]
"""Fewer tasks than parameters, many in conflict."""
APART = [draw(*shape, seed, spread) for shape in SHAPES for seed, spread in enumerate((1e3, 1e6))]
"""The same, with norms far apart."""
DEPENDENT = [draw(tasks, size, seed) for tasks, size in ((3, 2), (6, 3), (12, 5), (40, 20)) for seed in range(2)]
"""More tasks than parameters."""


def describe(rows: Tensor) -> str:
    norms = rows.norm(dim=1)
    return f"{len(rows)}x{rows.shape[1]}-{float(norms.max() / norms.min()):.0e}"


def cosines(rows: Tensor, direction: Tensor) -> Tensor:
    """Cosines between gradients and a direction; zeros if it is zero."""
    length = direction.norm()
    return rows / rows.norm(dim=1, keepdim=True) @ (direction / length if length > 0 else direction)
