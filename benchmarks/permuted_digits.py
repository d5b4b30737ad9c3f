"""Five tasks in a row: how much of the first ones a network forgets, with each remedy.

    python benchmarks/permuted_digits.py [--plot FILE] [--json FILE] [--seeds 3] [--arms naive EWC replay joint]

The setting is that of permuted MNIST (Goodfellow et al., "An empirical investigation of catastrophic forgetting", 2014; Kirkpatrick
et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017) on the digits of scikit-learn, 8 x 8 pixels: each task
is to classify digits whose pixels were shuffled by a permutation of its own. All tasks share one output, as in these papers: the
encoder ends with the ten logits, and the heads return them. Plain gradient descent at 0.1, batches of 32, 30 passes of each task.

Accuracy is that of a task on held-out digits, in percent. Forgetting is the mean, over all tasks except the last, of the best accuracy
minus the final one.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset

from lightning_mtl import HardSharing, Multiclass, MultiTaskDataModule, MultiTaskModule, Task
from lightning_mtl.callbacks import ElasticWeightConsolidation, Replay
from lightning_mtl.samplers import Phase, Phases

TASKS = [f"task{i}" for i in range(1, 6)]
PASSES, BATCH, TRAIN = 30, 32, 1437
STRENGTH = 5.0
"""Lambda of elastic weight consolidation."""
ARMS: dict[str, Callable[[], list[L.Callback]]] = {
    "naive": list,
    "EWC": lambda: [ElasticWeightConsolidation(STRENGTH)],
    "replay": lambda: [Replay(rows=100)],
    "joint": list,
}
"""What takes part in training; "joint" trains all tasks in every step, the others one after the other."""


class Digits(Dataset[dict[str, Any]]):
    """Digits with permuted pixels, and their labels."""

    def __init__(self, pixels: torch.Tensor, labels: torch.Tensor) -> None:
        self.pixels, self.labels = pixels, labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"pixels": self.pixels[row], "digit": self.labels[row]}


@dataclass(frozen=True)
class Curve:
    """The accuracy of each task, in percent, by step."""

    steps: list[int]
    accuracies: list[list[float]]

    @property
    def accuracy(self) -> float:
        """The mean over the tasks at the end."""
        return mean(self.accuracies[-1])

    @property
    def forgetting(self) -> float:
        """How far tasks but the last are below their best at the end."""
        best = [max(of) for of in zip(*self.accuracies, strict=True)]
        return float(mean(high - end for high, end in zip(best[:-1], self.accuracies[-1][:-1], strict=True)))


def sources(seed: int) -> dict[str, dict[str, Digits]]:
    """Shuffle the pixels for each task, and split the digits."""
    loaded = load_digits()
    draw = torch.Generator().manual_seed(seed)
    pixels, labels = torch.tensor(loaded.data, dtype=torch.float32) / 16, torch.tensor(loaded.target)
    order = torch.randperm(len(pixels), generator=draw)
    parts = {"train": order[:TRAIN], "validation": order[TRAIN:]}
    shuffled = [torch.randperm(64, generator=draw) for _ in TASKS]
    return {
        task: {split: Digits(pixels[rows][:, columns], labels[rows]) for split, rows in parts.items()}
        for task, columns in zip(TASKS, shuffled, strict=True)
    }


def network() -> MultiTaskModule:
    """Return a network of one hidden layer whose ten outputs all tasks share."""
    layers = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    tasks = [Task(name, target="digit", head=Multiclass(10, layers=nn.Identity())) for name in TASKS]
    return MultiTaskModule(tasks, HardSharing(layers, 10), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1))


class Measure(L.Callback):
    """Records the accuracy of each task whenever it is measured."""

    def __init__(self) -> None:
        self.curve = Curve([], [])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        found = [float(trainer.callback_metrics[f"validate/{task}/accuracy"]) for task in TASKS]
        self.curve.steps.append(trainer.global_step)
        self.curve.accuracies.append([100 * of for of in found])


def run(arm: str, seed: int, passes: int = PASSES) -> Curve:
    """Train an arm from a seed."""
    torch.manual_seed(seed)
    in_a_row = Phases([Phase([task], passes=float(passes)) for task in TASKS], repeat=False)
    data = MultiTaskDataModule(
        sources(seed), batch_size=BATCH, sampling=None if arm == "joint" else in_a_row, seed=seed, summary=False
    )
    watch = Measure()
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0}
    # With tasks in a row an epoch is as long as a pass of all five.
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=passes, check_val_every_n_epoch=2, callbacks=[*ARMS[arm](), watch], **quiet
    )
    trainer.fit(network(), data)
    return watch.curve


def compare(arms: Sequence[str] = tuple(ARMS), seeds: int = 3, passes: int = PASSES) -> dict[str, list[Curve]]:
    """Train each arm from each seed."""
    return {arm: [run(arm, seed, passes) for seed in range(seeds)] for arm in arms}


def draw(found: dict[str, list[Curve]], path: str) -> None:
    """Draw the accuracy of each task by step, averaged over the seeds, with a panel for each arm."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(found), figsize=(3.2 * len(found), 2.9), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (arm, curves) in zip(axes.flat, found.items(), strict=True):
        means = torch.tensor([curve.accuracies for curve in curves]).mean(0)
        for number, task in enumerate(TASKS):
            ax.plot(curves[0].steps, means[:, number], color=f"C{number}", linewidth=1.4, label=task)
        ax.set_title(f"{arm}: {mean(of.accuracy for of in curves):.1f} at the end", fontsize=10)
        ax.set(xlabel="step", ylim=(0, 102))
        if arm != "joint":
            for k in range(1, len(TASKS)):
                ax.axvline(curves[0].steps[-1] * k / len(TASKS), color="#c9d3dc", linewidth=0.8, zorder=0)
    axes[0, 0].set_ylabel("accuracy in percent")
    axes[0, -1].legend(fontsize=7, loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=PASSES)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    found = compare(options.arms, options.seeds, options.passes)
    for arm, curves in found.items():
        for name in ("accuracy", "forgetting"):
            values = [getattr(curve, name) for curve in curves]
            spread = stdev(values) if len(values) > 1 else 0.0
            print(f"{arm:8} {name:10} {mean(values):5.1f} +- {spread:.1f}")
    if options.json:
        figures = {arm: [vars(curve) for curve in curves] for arm, curves in found.items()}
        options.json.write_text(json.dumps(figures))
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
