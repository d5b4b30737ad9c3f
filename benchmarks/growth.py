"""The cost before the first step, and how it grows with tasks, sources and rows.

    python benchmarks/growth.py [--json FILE] [--rounds N] [--only NAME ...]

Seconds are those of the processor, from the data module's first line to the end of the first step, under a Trainer without logger, checkpoints and
validation. What is compared takes turns, and a figure is the median over the rounds. `setup_tasks_growth`: a list of 2,048 rows with 400 targets over
one with 100. `sources_growth`: 800 sources of 32 rows over 200. `reads_per_row`: how often a map-style dataset with 20 targets is asked for a row before
training, over its rows. `table_setup_ratio`: a new CSV file of 200,000 rows and 21 columns, from its path to the end of the first step, over
`pandas.read_csv`. `step_ratio_k200`: a step with 200 heads over that of a LightningModule written by hand, with the same optimizer, on the same batches.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_mtl import HardSharing, Multiclass, MultiTaskDataModule, MultiTaskModule, Source, Tabular, Task

BARS = {
    "setup_tasks_growth": ("first step, 400 tasks over 100", 5.0),
    "reads_per_row": ("reads of a row before training", 1.0),
    "table_setup_ratio": ("first step of a table over pandas.read_csv", 4.0),
    "step_ratio_k200": ("a step with 200 heads over one by hand", 1.1),
    "sources_growth": ("first step, 800 sources over 200", 5.0),
}
"""What each figure says, and the most that it should be."""
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
FEATURES, CLASSES = 8, 3


def rows_of(count: int, targets: int, seed: int = 0) -> list[dict[str, Any]]:
    """Make rows with a list of inputs `x`, and class numbers `t0`, `t1`, ..."""
    draw = np.random.default_rng(seed)
    x, labels = draw.normal(size=(count, FEATURES)), draw.integers(0, CLASSES, (count, targets))
    labels[:CLASSES] = np.arange(CLASSES)[:, None]  # every class is there
    return [
        {"x": inputs.tolist(), **{f"t{i}": int(label) for i, label in enumerate(of)}}
        for inputs, of in zip(x, labels, strict=True)
    ]


class First(L.Callback):
    """Notes when the first step begins and ends, in seconds of the processor."""

    def __init__(self, on_start: Callable[[], Any] = lambda: None) -> None:
        self.on_start = on_start
        self.end = 0.0

    def on_train_start(self, *args: Any) -> None:
        self.on_start()

    def on_train_batch_end(self, *args: Any) -> None:
        self.end = time.process_time()


def first_step(sources: Any, tasks: list[Task], encoder: HardSharing, first: First | None = None) -> float:
    """Return the seconds of the processor to the end of the first step."""
    first, start = first or First(), time.process_time()
    data = MultiTaskDataModule(sources() if callable(sources) else sources, summary=False)
    options: dict[str, Any] = {"max_steps": 1, "num_sanity_val_steps": 0, "limit_val_batches": 0, "callbacks": [first]}
    L.Trainer(**options, **QUIET).fit(MultiTaskModule(tasks, encoder), data)
    return first.end - start


def plain(width: int = 16) -> HardSharing:
    return HardSharing(nn.Linear(FEATURES, width), width=width, inputs=["x"])


def of_tasks(count: int, rows: int = 2048) -> float:
    made = {"train": rows_of(rows, count), "validation": rows_of(rows // 8, count, seed=1)}
    return first_step({"s": made}, [Task(f"t{i}") for i in range(count)], plain())


def of_sources(count: int) -> float:
    sources = {f"s{i}": rows_of(32, 1, seed=i) for i in range(count)}
    return first_step(sources, [Task(f"y{i}", f"s{i}", target="t0") for i in range(count)], plain())


class Counted:
    """A map-style dataset that counts how often it is asked for a row."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.reads = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        self.reads += 1
        return self.rows[number]


def reads_per_row(rows: int = 2048, targets: int = 20) -> float:
    parts = {"train": Counted(rows_of(rows, targets)), "validation": Counted(rows_of(rows // 8, targets, seed=1))}
    reads: list[int] = []
    watch = First(lambda: reads.append(sum(part.reads for part in parts.values())))
    first_step({"s": parts}, [Task(f"t{i}") for i in range(targets)], plain(), watch)
    return reads[0] / sum(map(len, parts.values()))


def table_setup_ratio(folder: Path, number: int, rows: int = 200_000, features: int = 20) -> float:
    draw, path = np.random.default_rng(number), folder / f"table{number}.csv"
    names = [f"x{i}" for i in range(features)]
    table = pd.DataFrame(draw.normal(size=(rows, features)), columns=names)
    table.assign(y=draw.integers(0, 2, rows)).to_csv(path, index=False)
    start = time.process_time()
    pd.read_csv(path)
    read = time.process_time() - start
    return first_step(lambda: {"s": Source(path, features=names)}, [Task("y")], HardSharing(Tabular(16))) / read


class HandWritten(L.LightningModule):
    """The module that a user would write without this library, with the same optimizer."""

    def __init__(self, trunk: nn.Module, width: int, tasks: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleDict({f"t{i}": nn.Linear(width, CLASSES) for i in range(tasks)})

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        columns = batch["s"]
        features = self.trunk(columns["x"])
        return torch.stack([F.cross_entropy(head(features), columns[name]) for name, head in self.heads.items()]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW([{"params": list(part.parameters())} for part in (self.trunk, self.heads)])


class Batches:
    """The same batches in turn; it notes the seconds of the processor at each request."""

    def __init__(self, batches: list[Any], steps: int) -> None:
        self.batches, self.steps = batches, steps
        self.times: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        self.times = []
        for step in range(self.steps):
            self.times.append(time.process_time())
            yield self.batches[step % len(self.batches)]

    def seconds(self, module: L.LightningModule) -> float:
        """Train on them, and return the median seconds of a step, without the first ones."""
        L.Trainer(accelerator="cpu", max_epochs=1, barebones=True).fit(module, self)
        times = self.times[5:]
        return statistics.median(after - before for before, after in itertools.pairwise(times))


def step_ratio(tasks: int = 200, rows: int = 64, width: int = 256, steps: int = 40) -> float:
    def trunk() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    made = [Task(f"t{i}", head=Multiclass(CLASSES), metrics=[]) for i in range(tasks)]
    columns = pd.DataFrame(rows_of(rows, tasks))
    batch = {name: torch.tensor(columns[name].tolist()) for name in columns}
    ours = MultiTaskModule(made, HardSharing(trunk(), width))
    batches = Batches([ours.routing.label({"s": batch})], steps)  # as a data module delivers them
    by_hand = batches.seconds(HandWritten(trunk(), width, tasks))
    return batches.seconds(ours) / by_hand


def figures(rounds: int, only: list[str]) -> dict[str, float]:
    """Measure what is asked for."""
    measures: dict[str, Callable[[Path, int], float]] = {
        "setup_tasks_growth": lambda folder, number: of_tasks(400) / of_tasks(100),
        "reads_per_row": lambda folder, number: reads_per_row(),
        "table_setup_ratio": table_setup_ratio,
        "step_ratio_k200": lambda folder, number: step_ratio(),
        "sources_growth": lambda folder, number: of_sources(800) / of_sources(200),
    }
    first_step({"s": rows_of(64, 2)}, [Task("t0"), Task("t1")], plain())  # what is imported late
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: statistics.median(measures[name](Path(folder), number) for number in range(rounds)) for name in only
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement")
    parser.add_argument("--only", nargs="+", choices=BARS, default=list(BARS), help="the figures to measure")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    found = figures(options.rounds, options.only)
    print(f"{'':44} {'found':>8} {'at most':>8}")
    for name, value in found.items():
        print(f"{BARS[name][0]:44} {value:8.2f} {BARS[name][1]:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
