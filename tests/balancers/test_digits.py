"""Two digits in one picture, of which the second task's loss is a hundredth: balancers save it.

The setting is that of Sener and Koltun ("Multi-task learning as multi-objective optimization", NeurIPS 2018), with the
digits of scikit-learn: 8 x 8 pixels, two of them overlaid on 12 x 12.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from lightning_mtl import HardSharing, Multiclass, MultiTaskModule, Task
from lightning_mtl.balancers import (
    FAMO,
    IMTLG,
    MGDA,
    AlignedMTL,
    Balancer,
    ConFIG,
    GeometricMean,
    GradNorm,
    LogSum,
    NashMTL,
    SoftmaxUncertainty,
)

pytestmark = pytest.mark.slow
WEIGHTS = {"left": 1.0, "right": 0.01}
SEEDS = (0, 100, 200)
Batch = dict[str, dict[str, Tensor]]
Maker = Callable[[], Balancer | None]


class Pairs(Dataset[Batch]):
    """Pictures of two digits, the first at the top left, the second at the bottom right; read by lists of numbers."""

    def __init__(self, digits: Tensor, labels: Tensor, rows: int, seed: int) -> None:
        pick = torch.randint(len(digits), (2, rows), generator=torch.Generator().manual_seed(seed))
        canvas = torch.zeros(2, rows, 12, 12)
        canvas[0, :, :8, :8], canvas[1, :, 4:, 4:] = digits[pick[0]], digits[pick[1]]
        self.columns = {"x": canvas.amax(0).flatten(1), "left": labels[pick[0]], "right": labels[pick[1]]}

    def __len__(self) -> int:
        return len(self.columns["x"])

    def __getitem__(self, rows: list[int]) -> Batch:
        return {"pictures": {name: values[rows] for name, values in self.columns.items()}}


@cache
def pairs() -> tuple[Pairs, Pairs]:
    """Make pairs to train on, and pairs of other digits to test on."""
    loaded = load_digits()
    digits, labels = torch.tensor(loaded.images, dtype=torch.float32) / 16, torch.tensor(loaded.target)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    train, test = order[:1400], order[1400:]
    return Pairs(digits[train], labels[train], 10_000, seed=1), Pairs(digits[test], labels[test], 2_000, seed=2)


def accuracies(folder: Path, names: tuple[str, ...], make: Maker = lambda: None) -> dict[str, float]:
    """Train a network for these tasks from each seed, and give its mean accuracies on other digits in percent."""
    found = [accuracies_of(seed, quiet_trainer(folder), names, make()) for seed in SEEDS]
    return {name: mean(of[name] for of in found) for name in names}


def accuracies_of(seed: int, trainer: Trainer, names: tuple[str, ...], balancer: Balancer | None) -> dict[str, float]:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Linear(144, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
    module = MultiTaskModule(
        [Task(name, target=name, head=Multiclass(10), weight=WEIGHTS[name]) for name in names],
        HardSharing(layers, width=64, inputs=["x"]),
        balancer=balancer,
        optimizer=lambda groups: torch.optim.Adam(groups, lr=1e-3),
    )
    train, test = pairs()
    order = RandomSampler(train, generator=torch.Generator().manual_seed(3 + seed))
    trainer.fit(module, DataLoader(train, batch_size=None, sampler=BatchSampler(order, 128, drop_last=False)))
    with torch.no_grad():
        answers = module(test[list(range(len(test)))])
    return {name: 100 * float((answers[name].argmax(1) == test.columns[name]).double().mean()) for name in names}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Accuracies of single-task networks."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: accuracies(folder, (name,))[name] for name in WEIGHTS}


def quiet_trainer(folder: Path) -> Trainer:
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return Trainer(accelerator="cpu", max_epochs=20, default_root_dir=folder, **quiet)


def test_without_a_balancer_the_small_loss_is_not_learned(tmp_path: Path, alone: dict[str, float]) -> None:
    found = accuracies(tmp_path, tuple(WEIGHTS))
    assert found["right"] < 70
    assert found["left"] > alone["left"] - 2


BALANCERS: dict[str, Maker] = {
    "LogSum": LogSum,
    "GeometricMean": GeometricMean,
    "UW-O": lambda: SoftmaxUncertainty(temperature=None),
    "FAMO": FAMO,
    "GradNorm": lambda: GradNorm(alpha=0.0),
    "MGDA": lambda: MGDA(normalization="l2"),
    "IMTLG": IMTLG,
    "NashMTL": NashMTL,
    "AlignedMTL": AlignedMTL,
    "ConFIG": ConFIG,
}


@pytest.mark.parametrize("make", BALANCERS.values(), ids=list(BALANCERS))
def test_balancers_learn_both_tasks(tmp_path: Path, alone: dict[str, float], make: Maker) -> None:
    """Both are within 2 points of single-task networks: when this was written they lacked 1.4 at most."""
    found = accuracies(tmp_path, tuple(WEIGHTS), make)
    assert all(found[name] > alone[name] - 2 for name in WEIGHTS), (found, alone)
