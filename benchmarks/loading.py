"""The cost of loading many sources: our one loader compared with Lightning's `CombinedLoader` over a loader of each source.

    python benchmarks/loading.py [--json FILE]

Both sides get the same `DataLoader`s, one for each source: a map-style dataset of vectors of 16 numbers, batches of
8 in random order, and a collate function that stacks them; 50,000 rows in total, divided into 2, 10 or 50 sources.
`CombinedLoader(loaders, "max_size_cycle")` reads them as they are, with 0 or 2 (persistent) workers each, and its step
holds a batch of every source. `MultiTaskDataModule` takes datasets, batches and collate function from them, reads them with 0 or
2 workers for all together, and its step holds a batch of one source (`batches="homogeneous"`). So all figures are per batch of
one source, and both sides call the same dataset and collate function for it; what workers send, and how, is up to the loader.

Both sides take turns in one process. A figure is the median over the rounds, and a ratio the median of the ratios within a round.
The cost of a batch is the processor time of the main process and all workers: this is what loading takes away from training,
and it depends less on other load of the machine than wall time, which is shown too. Our loaders of 2 and of
50 sources, which should not differ, take turns every 200 batches; of the 20 turns of a round the lower quartile counts, because a
busy machine only makes a turn slower. Time to the first batch is wall time from `iter()` on, which starts the workers.
The memory of the workers is the sum of their PSS, which divides a page by the number of processes that share it. Construction is
that of a sampler over 10 million rows up to its first plan, in a fresh process: processor seconds, and its peak memory minus the
memory before. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_mtl import MultiTaskDataModule
from lightning_mtl.data import MultiTaskLoader
from lightning_mtl.samplers import MultiTaskSampler, Rows, Uniform

FEATURES, BATCH, ROWS = 16, 8, 50_000
"""Numbers of a row, rows of a batch, and rows of all sources together."""
WARM, TIMED = 250, 1_000
"""Batches before the clock starts, and until it stops."""
BLOCKS, BLOCK = 20, 200
"""Short turns of a round, and the batches of one."""
CASES = [(sources, workers) for workers in (0, 2) for sources in (2, 10, 50)]
BARS: dict[str, tuple[str, float, float]] = {
    "first_batch_ratio_50x2": ("first batch, ours / CombinedLoader", 0.0, 0.05),
    "worker_memory_ratio_50x2": ("memory of workers, ours / CombinedLoader", 0.0, 0.25),
    "per_batch_ratio_50x2": ("a batch, ours / CombinedLoader", 0.0, 0.65),
    "per_step_ratio_50_to_2": ("our step, 50 sources / 2", 0.9, 1.1),
    "per_step_ratio_50_to_2_w0": ("our step, 50 sources / 2, no workers", 0.9, 1.1),
    "sampler_us_homogeneous": ("our sampler, 50 sources (us a step)", 0.0, 15.0),
    "construct_10m_seconds": ("our sampler over 10 M rows (s)", 0.0, 2.0),
    "construct_10m_mb": ("our sampler over 10 M rows (MB)", 0.0, 200.0),
}
"""What each figure says, and the least and most that it should be."""


class Vectors(Dataset[Tensor]):
    """Rows of one source, ready in memory."""

    def __init__(self, rows: int, seed: int) -> None:
        self.x = torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> Tensor:
        return self.x[row]


def collate(rows: list[Tensor]) -> dict[str, Tensor]:
    return {"x": torch.stack(rows)}


# Both sides


def loaders(sources: int, workers: int) -> dict[str, DataLoader[Tensor]]:
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0, "collate_fn": collate}
    datasets = [Vectors(ROWS // sources, seed) for seed in range(sources)]
    return {f"s{i}": DataLoader(rows, BATCH, shuffle=True, **options) for i, rows in enumerate(datasets)}


def theirs(sources: int, workers: int) -> CombinedLoader:
    return CombinedLoader(loaders(sources, workers), "max_size_cycle")


def ours(sources: int, workers: int) -> MultiTaskLoader:
    options: dict[str, Any] = {"num_workers": workers, "steps_per_epoch": 1_000_000, "seed": 0}
    data = MultiTaskDataModule(loaders(sources, 0), sampling=Uniform(), **options)
    data.setup("fit")
    return data.train_dataloader()


@dataclass(frozen=True)
class Turn:
    """The time and memory of one side."""

    first: float
    """Seconds to the first batch."""
    cpu: float
    """Seconds of all processors for a batch of one source."""
    wall: float
    """Seconds for a batch of one source."""
    processes: int
    memory: float
    """Bytes of all workers."""


def turn(make: Callable[[int, int], Any], sources: int, workers: int) -> Turn:
    """Read one loader from its start."""
    loader, a_step = make(sources, workers), sources if make is theirs else 1
    gc.collect()
    start = time.perf_counter()
    batches = iter(loader)
    next(batches)
    first = time.perf_counter() - start
    take(batches, WARM // a_step)
    pids = children()
    cpu, wall = spent(batches, TIMED // a_step, pids)
    result = Turn(first, cpu / TIMED, wall / TIMED, len(pids), sum(map(pss, pids)))
    if isinstance(loader, CombinedLoader):
        loader.reset()
    del loader, batches
    gc.collect()
    assert not children(), "workers end before the other side begins"
    return result


def spent(batches: Iterator[Any], steps: int, pids: Sequence[int]) -> tuple[float, float]:
    """Measure a number of steps, in processor seconds and wall time."""
    cpu, wall = cpu_seconds(pids), time.perf_counter()
    take(batches, steps)
    return cpu_seconds(pids) - cpu, time.perf_counter() - wall


def take(batches: Iterator[Any], steps: int) -> None:
    for _ in range(steps):
        next(batches)


def many_to_few(workers: int) -> float:
    """Compare our step at 50 sources with that at 2; both loaders exist at once, and take turns."""
    started = []
    for sources in (50, 2):
        others = children()
        batches = iter(ours(sources, workers))
        take(batches, WARM)
        started.append((batches, [pid for pid in children() if pid not in others]))
    blocks = [[spent(batches, BLOCK, pids)[0] for batches, pids in started] for _ in range(BLOCKS)]
    sides: list[list[float]] = [sorted(side) for side in zip(*blocks, strict=True)]
    return sides[0][BLOCKS // 4] / sides[1][BLOCKS // 4]


# What processes take


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Sum up the processor time of this process and others."""
    clocks = [~pid << 3 | 2 for pid in pids]  # the clock of another process, as `clock_getcpuclockid` numbers it
    return time.process_time() + sum(map(time.clock_gettime, clocks))


def pss(pid: int) -> float:
    return kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:") * 1024


def kilobytes(path: str, name: str) -> int:
    """Read a line such as `Pss:   5255 kB`."""
    return next(int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(name))


# The sampler alone


def sampler_seconds(steps: int) -> float:
    """Time a step of the sampler over 50 sources, without workers."""
    sampler = MultiTaskSampler({f"s{i}": Rows(ROWS // 50, BATCH, name=f"s{i}") for i in range(50)}, steps=WARM + steps)
    plans = iter(sampler)
    for plan, _ in zip(plans, range(WARM), strict=False):
        assert plan
        sampler.deliver()
    start = time.process_time()
    for _ in plans:
        sampler.deliver()
    return (time.process_time() - start) / steps


def construct(rows: int) -> tuple[float, float]:
    """Measure the seconds and bytes that a sampler over one large source takes up to its first plan."""
    held = kilobytes("/proc/self/status", "VmRSS:")
    start = time.process_time()
    next(iter(MultiTaskSampler({"large": Rows(rows, BATCH, name="large")})))
    seconds = time.process_time() - start
    return seconds, (kilobytes("/proc/self/status", "VmHWM:") - held) * 1024


def constructed(rows: int) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        return fresh.apply(construct, (rows,))


# Figures

Pairs = dict[tuple[int, int], list[tuple[Turn, Turn]]]
"""{(sources, workers): what both sides took in each round, theirs first}."""


def compare(rounds: int) -> Pairs:
    """Run both sides in turns; the order changes from round to round."""
    pairs: Pairs = {case: [] for case in CASES}
    for number in range(rounds):
        for case in CASES:
            order = (theirs, ours) if number % 2 == 0 else (ours, theirs)
            took = {make: turn(make, *case) for make in order}
            pairs[case].append((took[theirs], took[ours]))
    return pairs


def ratio(pairs: Sequence[tuple[Turn, Turn]], field: str) -> float:
    """Return the ratio of our side to the other."""
    ratios: list[float] = [getattr(second, field) / getattr(first, field) for first, second in pairs]
    return statistics.median(ratios)


def figures_of(pairs: Pairs, rounds: int) -> dict[str, float]:
    made = [constructed(10_000_000) for _ in range(rounds)]
    return {
        "first_batch_ratio_50x2": ratio(pairs[50, 2], "first"),
        "worker_memory_ratio_50x2": ratio(pairs[50, 2], "memory"),
        "per_batch_ratio_50x2": ratio(pairs[50, 2], "cpu"),
        "per_batch_wall_ratio_50x2": ratio(pairs[50, 2], "wall"),
        "per_step_ratio_50_to_2": statistics.median(many_to_few(2) for _ in range(rounds)),
        "per_step_ratio_50_to_2_w0": statistics.median(many_to_few(0) for _ in range(rounds)),
        "sampler_us_homogeneous": statistics.median(sampler_seconds(20_000) for _ in range(rounds)) * 1e6,
        "construct_10m_seconds": statistics.median(seconds for seconds, _ in made),
        "construct_10m_mb": statistics.median(held for _, held in made) / 1e6,
    }


def print_turns(pairs: Pairs) -> None:
    scales = {"cpu": 1e6, "wall": 1e6, "first": 1e3, "processes": 1.0, "memory": 1e-6}
    names = "cpu us", "wall us", "first ms", "workers", "MB"
    print(f"{'sources x workers':27}" + "".join(f"{name:>10}" for name in names))
    for (sources, workers), took in pairs.items():
        for side, turns in zip(("CombinedLoader", "ours"), zip(*took, strict=True), strict=True):
            values = [
                statistics.median(getattr(one, field) for one in turns) * scale for field, scale in scales.items()
            ]
            print(f"{sources:2} x {workers} {side:20}" + "".join(f"{value:10,.0f}" for value in values))


def print_bars(figures: dict[str, float]) -> None:
    print(f"\n{'':44}{'figure':>8}   bar")
    for name, (says, least, most) in BARS.items():
        bar = f"{least:g} to {most:g}" if least else f"at most {most:g}"
        print(f"{says:44}{figures[name]:8.3f}   {bar}{'' if least <= figures[name] <= most else ', missed'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)

    pairs = compare(options.rounds)
    print_turns(pairs)
    figures = figures_of(pairs, options.rounds)
    print_bars(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
