"""The cost of monitors in a training step.

    python benchmarks/monitors.py [--json FILE] [--rounds N] [--steps N]

A trunk of 1.0 M parameters and four linear heads that read one source, batches of 256 rows, float32, AdamW, one thread, under
`Trainer(barebones=True)`. Seconds are those of the processor.

The cost of a monitor has two parts. Measurements: a fit that measures in each step and one that does not take turns, step by step. The median of
the ratios, minus one, is the cost of a measurement in steps; it is divided by the default interval of the monitor (500 steps). Hooks: every hook of
every monitor is timed in a fit with default intervals and without measurements, in which figures are logged every 50 steps; its seconds are divided
by those of the steps of the same fit. `all_monitors_pct` is the sum over all monitors, without a balancer, in percent of a step; `conflict_pct` is
that of ConflictMonitor when it reads what PCGrad measures at the representation. `evaluation_pct` is the share of hooks in an evaluation of 16 batches.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from lightning_mtl import HardSharing, Multiclass, MultiTaskModule, Task
from lightning_mtl.balancers import PCGrad
from lightning_mtl.callbacks import ConflictMonitor, ForgettingMonitor, GapMonitor, TransferMonitor

CLASSES, ROWS, SIZES = 10, 256, (128, 512, 512, 512, 512, 256)
MONITORS: dict[str, Callable[..., L.Callback]] = {
    "conflict": ConflictMonitor,
    "transfer": TransferMonitor,
    "forgetting": ForgettingMonitor,
    "gap": GapMonitor,
}
"""All of them; those that look aside have an argument and an attribute `every`."""
BARS = {"all_monitors_pct": ("all monitors", 2.0), "conflict_pct": ("ConflictMonitor, a Gramian that is there", 0.2)}
"""What each figure says, and the most that it should be, in percent of a step."""


def ours(tasks: int = 4, **options: Any) -> MultiTaskModule:
    torch.manual_seed(0)
    trunk = nn.Sequential(*(part for pair in itertools.pairwise(SIZES) for part in (nn.Linear(*pair), nn.ReLU())))
    made = [Task(f"t{i}", head=Multiclass(CLASSES)) for i in range(tasks)]

    # Slow enough that hundreds of steps on few batches leave the problem as it is.
    def adamw(groups: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=1e-6)

    return MultiTaskModule(made, HardSharing(trunk, SIZES[-1]), optimizer=adamw, **options)


class Batches:
    """Four batches in an endless loop; it records the processor time at each request."""

    def __init__(self, steps: int) -> None:
        make = torch.Generator().manual_seed(0)
        targets = {f"t{i}": torch.randint(CLASSES, (ROWS,), generator=make) for i in range(4)}
        made: list[Any] = [{"s": {"x": torch.randn(ROWS, SIZES[0], generator=make), **targets}} for _ in range(4)]
        self.batches = [ours().routing.label(batch) for batch in made]
        self.steps = steps
        self.times: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        self.times = []
        for step in range(self.steps):
            self.times.append(time.process_time())
            yield self.batches[step % len(self.batches)]
        self.times.append(time.process_time())


# Looks aside


def step_seconds(callbacks: Sequence[L.Callback], steps: int) -> list[float]:
    """Time the steps of a fit, after the first three, in which the optimizer creates its state."""
    batches = Batches(steps + 3)
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, barebones=True, callbacks=[*callbacks])
    trainer.fit(ours(), batches)
    return [after - before for before, after in itertools.pairwise(batches.times[3:])]


def looks(rounds: int, steps: int) -> dict[str, float]:
    """Measure the cost of a measurement of each monitor, in steps, divided by the interval between measurements."""
    rhythms = {name: every for name, make in MONITORS.items() if (every := getattr(make(), "every", None))}
    pairs: dict[str, list[float]] = {name: [] for name in rhythms}
    for _ in range(rounds):
        plain = statistics.median(step_seconds([], steps))
        for name in rhythms:
            pairs[name].append(statistics.median(step_seconds([MONITORS[name](every=1)], steps)) / plain)
    costs = {name: statistics.median(ratios) - 1 for name, ratios in pairs.items()}
    for name, cost in costs.items():
        print(f"a look of {name:12} {cost:6.1f} steps, every {rhythms[name]} steps: {100 * cost / rhythms[name]:.2f} %")
    return {name: 100 * cost / rhythms[name] for name, cost in costs.items()}


# Hooks


class Timed:
    """Times the hooks of a callback, and the functions that the module calls for it."""

    def __init__(self, callback: L.Callback) -> None:
        self.seconds = {"train": 0.0, "validation": 0.0}
        for name in dir(callback):
            hook = name.startswith(("on_train_batch", "on_validation"))
            if (hook and getattr(type(callback), name) is not getattr(L.Callback, name)) or name == "values":
                stage = "validation" if name.startswith("on_validation") else "train"
                setattr(callback, name, self._timed(getattr(callback, name), stage))

    def _timed(self, act: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return act(*args, **kwargs)
            finally:
                self.seconds[stage] += time.thread_time() - start

        return timed


def hooks(monitors: Mapping[str, L.Callback], steps: int, **options: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Run a fit with an evaluation at its end, and return the share of each monitor's hooks in the steps and in the evaluation."""
    timed = {name: Timed(monitor) for name, monitor in monitors.items()}
    batches, held_out = Batches(steps), Batches(16)
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, barebones=True, callbacks=[*monitors.values()])
    trainer.fit(ours(**options), batches, held_out)
    whole = {"train": batches.times[-1] - batches.times[0], "validation": held_out.times[-1] - held_out.times[0]}
    train, evaluation = (
        {name: 100 * of.seconds[stage] / (whole[stage] - of.seconds[stage]) for name, of in timed.items()}
        for stage in ("train", "validation")
    )
    return train, evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=7, help="how often each pair of fits is made")
    parser.add_argument("--steps", type=int, default=16, help="steps of each of them")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(f"a step: {1e3 * statistics.median(step_seconds([], options.steps)):.1f} ms")
    aside = looks(options.rounds, options.steps)
    found = [hooks({name: make() for name, make in MONITORS.items()}, 400) for _ in range(options.rounds)]
    read = [
        hooks({"conflict": ConflictMonitor()}, 400, balancer=PCGrad())[0]["conflict"] for _ in range(options.rounds)
    ]
    train, evaluation = ({name: statistics.median(of[i][name] for of in found) for name in MONITORS} for i in range(2))
    for name in MONITORS:
        print(f"hooks of {name:12} {train[name]:.3f} % of a step, {evaluation[name]:.3f} % of an evaluation")
    figures = {
        "all_monitors_pct": sum(aside.values()) + sum(train.values()),
        "conflict_pct": statistics.median(read),
        "evaluation_pct": sum(evaluation.values()),
    }
    print(f"\n{'percent of a step':44}{'figure':>8}   bar")
    for name, (says, most) in BARS.items():
        missed = "" if figures[name] <= most else ", missed"
        print(f"{says:44}{figures[name]:8.3f}   at most {most:g}{missed}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
