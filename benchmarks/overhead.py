"""The overhead of a step over a hand-written LightningModule that sums the same losses.

    python benchmarks/overhead.py [--json FILE]

Both run in one process, in turn, under `Trainer(barebones=True)`, with the same optimizer and on the same batches; the time
of a step is from one batch to the next. Batches are as those of `MultiTaskDataModule`; one row is for batches of
the user's own loader, in which the step has to find the rows with labels. A figure is the median over the rounds of the ratio
(or difference) of the two medians of a round. Logging is measured with the CSV logger at the default interval, by comparing
the steps that log something with those that do not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import timeit
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_mtl import HardSharing, Multiclass, MultiTaskModule, Task
from lightning_mtl.callbacks import LossHistory

CLASSES = 4


class Batches:
    """The same batches in an endless loop; it records the time of each request."""

    def __init__(self, tasks: int, features: int, rows: int, steps: int, labelled: bool = False) -> None:
        make = torch.Generator().manual_seed(0)
        targets = {f"t{i}": torch.randint(CLASSES, (rows,), generator=make) for i in range(tasks)}
        self.batches: list[Any] = [
            {"s": {"x": torch.randn(rows, features, generator=make), **targets}} for _ in range(min(steps, 8))
        ]
        if labelled:  # as `MultiTaskDataModule` delivers them: the rows with labels are noted where data are loaded
            self.batches = [ours((features, 8, 8), tasks).routing.label(batch) for batch in self.batches]
        self.steps = steps
        self.times: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        self.times = []
        for step in range(self.steps):
            self.times.append(time.perf_counter())
            yield self.batches[step % len(self.batches)]

    def step_seconds(self) -> list[float]:
        return [after - before for before, after in zip(self.times[20:], self.times[21:], strict=False)]


class HandWritten(L.LightningModule):
    """The module that a user would write without this library, with the same optimizer."""

    def __init__(self, trunk: nn.Module, width: int, tasks: int, log: bool = False) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleDict({f"t{i}": nn.Linear(width, CLASSES) for i in range(tasks)})
        self.log_losses = log

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        columns = batch["s"]
        features = self.trunk(columns["x"])
        losses = {name: F.cross_entropy(head(features), columns[name]) for name, head in self.heads.items()}
        if self.log_losses:
            self.log_dict({f"train/{name}/loss": loss for name, loss in losses.items()}, batch_size=len(columns["x"]))
        return torch.stack(list(losses.values())).sum()

    def configure_optimizers(self) -> Any:
        groups = [{"params": list(module.parameters())} for module in (self.trunk, self.heads)]
        return torch.optim.AdamW(groups)


def trunk(features: int, hidden: int, width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.ReLU())


def ours(sizes: tuple[int, int, int], tasks: int, metrics: Any = None) -> MultiTaskModule:
    made = [Task(f"t{i}", head=Multiclass(CLASSES), metrics=metrics) for i in range(tasks)]
    return MultiTaskModule(made, HardSharing(trunk(*sizes), width=sizes[-1]))


def fit(module: L.LightningModule, batches: Batches, **options: Any) -> list[float]:
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, **options)
    trainer.fit(module, batches)
    return batches.step_seconds()


def paired(
    sizes: tuple[int, int, int], tasks: int, rows: int, steps: int, rounds: int, labelled: bool = True
) -> list[tuple[float, float]]:
    """Time both in turn, on the same batches, and return the seconds of a step, by hand and ours, of each round."""
    batches = Batches(tasks, sizes[0], rows, steps, labelled)
    results = []
    for _ in range(rounds):
        by_hand = fit(HandWritten(trunk(*sizes), sizes[-1], tasks), batches, barebones=True)
        by_us = fit(ours(sizes, tasks), batches, barebones=True)
        results.append((statistics.median(by_hand), statistics.median(by_us)))
    return results


def logging(make: Callable[[], L.LightningModule], rounds: int, every: int = 50) -> float:
    """Measure the cost of logging, in seconds per step, by the steps that log something."""
    costs = []
    for _ in range(rounds):
        batches = Batches(20, 32, 64, 20 + 8 * every)
        with tempfile.TemporaryDirectory() as folder:
            logger = CSVLogger(folder)
            quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
            seconds = fit(make(), batches, logger=logger, log_every_n_steps=every, **quiet)
        shown = [s for i, s in enumerate(seconds) if (i + 21) % every == 0]
        others = [s for i, s in enumerate(seconds) if (i + 21) % every]
        costs.append((statistics.median(shown) - statistics.median(others)) / every)
    return statistics.median(costs)


def append_seconds() -> float:
    history = LossHistory(tuple(f"t{i}" for i in range(20)))
    losses, present = torch.ones(20, requires_grad=True).clone(), tuple(range(20))
    return timeit.timeit(lambda: history.append(0, present, losses), number=20_000) / 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each pair")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)

    large = paired((256, 1024, 704), tasks=3, rows=64, steps=150, rounds=options.rounds)
    tiny = paired((8, 16, 16), tasks=3, rows=32, steps=500, rounds=2 * options.rounds)
    raw = paired((8, 16, 16), tasks=3, rows=32, steps=500, rounds=options.rounds, labelled=False)
    losses = logging(lambda: ours((32, 64, 64), 20, []), options.rounds) + append_seconds()
    with_metrics = logging(lambda: ours((32, 64, 64), 20), options.rounds) + append_seconds()
    by_hand = [
        statistics.median(fit(HandWritten(trunk(32, 64, 64), 64, 20, log), Batches(20, 32, 64, 300), logger=False,
                              enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False))
        for log in (False, True)
    ]  # fmt: skip
    figures = {
        "step_ratio_1m": statistics.median(b / a for a, b in large),
        "step_extra_us_tiny": statistics.median((b - a) * 1e6 for a, b in tiny),
        "step_extra_us_tiny_own_loader": statistics.median((b - a) * 1e6 for a, b in raw),
        "log20_us_per_step": losses * 1e6,
        "log20_with_metrics_us_per_step": with_metrics * 1e6,
        "log20_by_hand_us_per_step": (by_hand[1] - by_hand[0]) * 1e6,
    }
    middle = [statistics.median(column) * 1e6 for column in zip(*large, strict=True)]
    small = [statistics.median(column) * 1e6 for column in zip(*tiny, strict=True)]
    print(f"{'step, 3 tasks':34} {'by hand':>10} {'ours':>10}")
    print(f"{'1 M parameters (us)':34} {middle[0]:10.0f} {middle[1]:10.0f}   {figures['step_ratio_1m']:.3f} x")
    print(f"{'tiny (us)':34} {small[0]:10.0f} {small[1]:10.0f}   {figures['step_extra_us_tiny']:+.0f} us")
    own = figures["step_extra_us_tiny_own_loader"]
    print(f"{'tiny, a loader of the user (us)':34} {'':21}   {own:+.0f} us")
    print(f"\n{'20 tasks logged, us per step':34}")
    print(f"{'losses, every 50 steps (ours)':34} {figures['log20_us_per_step']:10.0f}")
    print(f"{'losses and metrics (ours)':34} {figures['log20_with_metrics_us_per_step']:10.0f}")
    print(f"{'losses, self.log_dict each step':34} {figures['log20_by_hand_us_per_step']:10.0f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
