"""Two digits in one picture, of which the second task's loss is a hundredth: balancers save it.

The setting is that of Sener and Koltun ("Multi-task learning as multi-objective optimization", NeurIPS 2018), with the
digits of scikit-learn: 8 x 8 pixels, two of them overlaid on 12 x 12.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from lightning_mtl import HardSharing, Multiclass, MultiTaskModule, Task
from lightning_mtl.balancers import FAMO, MGDA, Balancer, ConFIG, LogSum, NashMTL, SoftmaxUncertainty

pytestmark = pytest.mark.slow
WEIGHTS = {"left": 1.0, "right": 0.01}
Batch = dict[str, dict[str, Tensor]]


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


def accuracies(trainer: Trainer, names: tuple[str, ...], balancer: Balancer | None = None) -> dict[str, float]:
    """Train a network for these tasks, and give its accuracies on other digits in percent."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(144, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
    module = MultiTaskModule(
        [Task(name, target=name, head=Multiclass(10), weight=WEIGHTS[name]) for name in names],
        HardSharing(layers, width=64, inputs=["x"]),
        balancer=balancer,
        optimizer=lambda groups: torch.optim.Adam(groups, lr=1e-3),
    )
    train, test = pairs()
    order = RandomSampler(train, generator=torch.Generator().manual_seed(3))
    trainer.fit(module, DataLoader(train, batch_size=None, sampler=BatchSampler(order, 128, drop_last=False)))
    with torch.no_grad():
        answers = module(test[list(range(len(test)))])
    return {name: 100 * float((answers[name].argmax(1) == test.columns[name]).double().mean()) for name in names}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Accuracies of single-task networks."""
    found: dict[str, float] = {}
    for name in WEIGHTS:
        found |= accuracies(quiet_trainer(tmp_path_factory.mktemp(name)), (name,))
    return found


def quiet_trainer(folder: Path) -> Trainer:
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return Trainer(accelerator="cpu", max_epochs=20, default_root_dir=folder, **quiet)


def test_without_a_balancer_the_small_loss_is_not_learned(tmp_path: Path, alone: dict[str, float]) -> None:
    found = accuracies(quiet_trainer(tmp_path), tuple(WEIGHTS))
    assert found["right"] < 70
    assert found["left"] > alone["left"] - 2


@pytest.mark.parametrize(
    "make",
    [LogSum, lambda: SoftmaxUncertainty(temperature=None), FAMO, NashMTL, lambda: MGDA(normalization="l2"), ConFIG],
    ids=["LogSum", "UW-O", "FAMO", "NashMTL", "MGDA-l2", "ConFIG"],
)
def test_balancers_learn_both_tasks(tmp_path: Path, alone: dict[str, float], make: Callable[[], Balancer]) -> None:
    """Both are within 2 points of single-task networks.

    Here they lack at most 1.3, as much as with equal losses (1.5); with other seeds it was up to 2.2 for UW-O and FAMO.
    """
    found = accuracies(quiet_trainer(tmp_path), tuple(WEIGHTS), make())
    assert all(found[name] > alone[name] - 2 for name in WEIGHTS), (found, alone)
