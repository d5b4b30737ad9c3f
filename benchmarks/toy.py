"""The paths of balancers on two conflicting objectives, from five starts.

    python benchmarks/toy.py [--json FILE] [--plot docs/toy.png] [--steps 35000] [--methods MGDA FAMO]

The problem is that of Liu et al., "Conflict-averse gradient descent for multi-task learning", NeurIPS 2021, with the scale and
the starts of Navon et al., "Multi-task learning as a bargaining game", ICML 2022: one objective is ten times the other, and
above the Pareto front is a valley in which gradients conflict. Every run is separate: float64, Adam at 0.001, its own balancer.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_mtl.balancers import (
    FAMO,
    IMTLG,
    MGDA,
    AlignedMTL,
    Balancer,
    CAGrad,
    ConFIG,
    FairGrad,
    GradientBalancer,
    NashMTL,
    PCGrad,
    Static,
    UPGrad,
)

SCALE = 0.1
STARTS = [[-8.5, 7.5], [0.0, 0.0], [9.0, 9.0], [-7.5, -0.5], [9.0, -1.0]]
METHODS: dict[str, Callable[[], Balancer]] = {
    "sum": Static,
    "PCGrad": PCGrad,
    "CAGrad": lambda: CAGrad(c=0.4),
    "MGDA": MGDA,
    "NashMTL": lambda: NashMTL(max_norm=1.0),
    "FairGrad": lambda: FairGrad(alpha=2.0, max_norm=1.0),
    "AlignedMTL": AlignedMTL,
    "UPGrad": UPGrad,
    "ConFIG": ConFIG,
    "IMTLG": IMTLG,
    "FAMO": lambda: FAMO(gamma=0.0, min_losses=[-21 * SCALE, -21.0]),
}


def objectives(x: Tensor, scale: float = SCALE) -> Tensor:
    """Return both objectives at points [..., 2]."""
    a, b = x.unbind(-1)
    tanh = b.tanh()
    first_valley = (0.5 * (-a - 7) + tanh).abs().clamp(min=5e-6).log() + 6
    second_valley = (0.5 * (-a + 3) - tanh + 2).abs().clamp(min=5e-6).log() + 6
    above, below = (b / 2).tanh().clamp(min=0), (-b / 2).tanh().clamp(min=0)
    bowls = [((a - side) ** 2 + 0.1 * (b + 8) ** 2) / 10 - 20 for side in (7, -7)]
    first = scale * (first_valley * above + bowls[0] * below)
    return torch.stack([first, second_valley * above + bowls[1] * below], -1)


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the objectives at points [run, 2], and their gradients [run, objective, 2]."""
    x = x.detach().requires_grad_()
    values = objectives(x)
    each = [torch.autograd.grad(values[:, number].sum(), x, retain_graph=True)[0] for number in (0, 1)]
    return values.detach(), torch.stack(each, 1)


def weigh(balancer: Balancer, values: Tensor, gramian: Tensor, step: int) -> Tensor:
    """Return the weights of both objectives."""
    balancer.observe(values, step, 0)
    if isinstance(balancer, GradientBalancer):
        weights: Tensor = balancer(gramian)
        balancer.remember(gramian)
        return weights
    leaf = values.clone().requires_grad_()
    return torch.autograd.grad(balancer(leaf), leaf)[0]


def paths(methods: Sequence[str], steps: int, every: int = 100) -> Tensor:
    """Run methods from all starts; return their points [method, start, moment, 2] at the start and after each `every` steps."""
    balancers = [METHODS[name]() for name in methods for _ in STARTS]
    x = torch.tensor(STARTS, dtype=torch.float64).repeat(len(methods), 1)
    adam = torch.optim.Adam([x], lr=1e-3, foreach=False)
    seen = [x.clone()]
    for step in range(steps):
        values, each = gradients(x)
        gramians = each @ each.mT
        rows = zip(balancers, values, gramians, strict=True)
        weights = torch.stack([weigh(balancer, value, gramian, step) for balancer, value, gramian in rows])
        x.grad = (weights[:, None] @ each)[:, 0]
        adam.step()
        if (step + 1) % every == 0:
            seen.append(x.clone())
    return torch.stack(seen, 1).view(len(methods), len(STARTS), -1, 2)


def front(points: int = 1401) -> Tensor:
    """Return the objectives along the Pareto front, which is nearly a segment of the plane."""
    a, b = torch.linspace(-7, 7, points).double(), torch.linspace(-8.44, -8.35, 16).double()
    return objectives(torch.cartesian_prod(a, b))


def off_front(values: Tensor) -> Tensor:
    """Return the distance of objectives [..., 2] from the front: the larger component, relative to the range of each."""
    return ((values[..., None, :] - front()).abs() / torch.tensor([20 * SCALE, 20.0])).amax(-1).amin(-1)


def draw(found: dict[str, Tensor], path: str) -> None:
    """Draw the paths of each method over the sum of the objectives, with the Pareto front."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    a, b = (torch.linspace(low, high, 200).double() for low, high in ((-10.5, 10.5), (-10.5, 10)))
    surface = objectives(torch.stack(torch.meshgrid(a, b, indexing="xy"), -1)).sum(-1)
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.7 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (name, each) in zip(axes.flat, found.items(), strict=False):
        reached = int((off_front(objectives(each[:, -1])) < 0.01).sum())
        panel(ax, each, f"{name}: {reached} of {len(each)} on the front", (a, b, surface))
    figure.suptitle(
        "From circle to star, on contours of the sum of both objectives; grey is the Pareto front", fontsize=10
    )
    figure.savefig(path, dpi=90)
    plt.close(figure)


def panel(ax: Any, paths: Tensor, title: str, surface: tuple[Tensor, Tensor, Tensor]) -> None:
    """Draw the paths of one method."""
    ax.set_axis_on()
    ax.contour(*surface, levels=14, colors="#c9d3dc", linewidths=0.6, linestyles="solid")
    ax.plot([-7, 7], [-8.36, -8.36], color="#888888", linewidth=5, alpha=0.45, solid_capstyle="round")
    for number, path in enumerate(paths):
        ax.plot(path[:, 0], path[:, 1], color=f"C{number}", linewidth=1.3)
        ax.plot(*path[0], "o", color=f"C{number}", markersize=4, markerfacecolor="white")
        ax.plot(*path[-1], "*", color=f"C{number}", markersize=9, markeredgecolor="black", markeredgewidth=0.4)
    ax.set(xticks=[], yticks=[], xlim=(-10.5, 10.5), ylim=(-10.5, 10))
    ax.set_title(title, fontsize=9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=35_000)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = dict(zip(options.methods, paths(options.methods, options.steps), strict=True))
    figures: dict[str, Any] = {"steps": options.steps}
    for name, each in found.items():
        ends = objectives(each[:, -1])
        reached = off_front(ends) < 0.01
        figures[name] = {"x": each[:, -1].tolist(), "f": ends.tolist(), "on_front": reached.tolist()}
        print(
            f"{name:10}  "
            + "  ".join(f"({a:7.3f} {b:8.3f}){'' if on else '!'}" for (a, b), on in zip(ends, reached, strict=True))
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
