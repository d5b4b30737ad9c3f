"""The cost of balancing: a step of ours compared with a hand-written one that adds up the losses, and with TorchJD's.

    python benchmarks/balancing.py [--json FILE] [--rounds N] [--only loss,exact,...] [--trunks mlp,...]

A trunk and K linear heads of 10 classes, batches of 64 rows, float32, Adam, one thread, the same initial weights on both
sides. Trunks are an MLP (1.0 M parameters), a transformer with explicit attention (2.2 M) and a residual network with group
normalisation (2.4 M). Every side is a LightningModule in its own fit under `Trainer(barebones=True)`; the time of a step is
from one batch to the next. TorchJD is used as in its documentation, with manual optimization.

All fits of a cell (a trunk and a K) run in one process and take turns, in reverse order in every second turn. A turn has one or
several steps, after one that warms the caches and does not count. A ratio is the median over the turns of the ratios within a
turn. Each round creates the fits anew, because the same step is up to 3 percent faster or slower at another place in memory.
Seconds are processor time. A second hand-written loop shows how much two equal sides differ (`noise`).

The largest of many noisy ratios is larger than any true one. So `loss_max` is the largest of: the ratio of each trunk and K
over all loss balancers, and the ratio of each balancer over all trunks and K. `loss_max_cell` is that of single cells; compare
it with `noise_max_cell`. The cost of a loss balancer does not depend on the trunk, so the larger trunks run only two of them.

Solvers are timed alone, on Gramians of random gradients of different sizes. Bytes are those that two gloo processes pass to
collectives in a step. Memory is the peak of allocations within a step, minus that of the hand-written step.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import logging
import math
import multiprocessing
import os
import socket
import statistics
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
import torch.distributed as dist
import torchjd.aggregation
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn import functional as F
from torchjd.autogram import Engine
from torchjd.autojac import jac_to_grad, mtl_backward

from lightning_mtl import HardSharing, Multiclass, MultiTaskModule, Task, balancers
from lightning_mtl.balancers import FAMO, Balancer, GradientBalancer, LossBalancer, Uncertainty, UPGrad

CLASSES, ROWS = 10, 64
TASKS = 2, 8, 20, 40
BARS = {
    "loss_max": ("loss balancers / hand loop", 1.03),
    "representation_max_k8": ("at the representation / hand loop, K=8", 1.12),
    "representation_max_k40": ("at the representation / hand loop, K=40", 1.30),
    "exact_vs_torchjd_max_k8": ("exact / TorchJD's best engine, K=8", 1.05),
    "exact_vs_torchjd_mlp_k8": ("the same, MLP", 0.6),
    "exact_sources_k8": ("exact, 8 sources / hand loop", 1.9),
    "exact_sources_memory": ("its memory, in shared parameters", 9.0),
    "solver_ms_max_k8": ("slowest solver, K=8 (ms)", 0.25),
    "solver_ms_max_k40": ("slowest solver, K=40 (ms)", 1.0),
    "ddp_bytes_ratio_representation": ("bytes at the representation / DDP", 1.01),
    "ddp_bytes_ratio_sketch": ("bytes of a sketch of 1024 / DDP", 1.01),
}
"""What each figure says, and the most that it should be."""
adam = partial(torch.optim.Adam, lr=1e-6)
"""Slow enough that hundreds of steps on few batches leave the problem as it is: what is learned by heart has gradients so small
that the processor slows down."""

# Trunks


class Layer(nn.Module):
    """A transformer layer with explicit attention."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read, self.write = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        parts = self.read(self.before(x)).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        shares = (query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)).softmax(-1)
        x = x + self.write((shares @ value).transpose(1, 2).reshape(rows, length, width))
        return x.add(self.inner(self.between(x)))


class Transformer(nn.Module):
    def __init__(self, width: int = 192, layers: int = 5) -> None:
        super().__init__()
        self.into = nn.Linear(64, width)
        self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.layers(self.into(x)).mean(1)
        return mean


class Block(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.long = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.GroupNorm(8, outputs),
        )  # fmt: skip
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.long(x)
        return F.relu(outputs + self.short(x))


def mlp() -> nn.Module:
    sizes = 128, 512, 512, 512, 512, 256
    return nn.Sequential(*(part for pair in itertools.pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())))


def resnet() -> nn.Module:
    stem = nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.GroupNorm(8, 64), nn.ReLU()
    blocks = Block(64, 64, 2), Block(64, 128, 1), Block(128, 256, 2), Block(256, 256, 1)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


WARM = 1
"""Steps at the start of a turn that are not timed: after another fit's turn, weights and code are in no cache."""


class Trunk(NamedTuple):
    make: Callable[[], nn.Module]
    inputs: tuple[int, ...]
    width: int
    turns: int
    """Turns of a round."""
    steps: int
    """Steps of a turn."""


TRUNKS = {
    "mlp": Trunk(mlp, (128,), 256, turns=6, steps=8),
    "transformer": Trunk(Transformer, (8, 64), 192, turns=1, steps=1),
    "resnet": Trunk(resnet, (3, 16, 16), 256, turns=1, steps=1),
}

# Sides


class HandWritten(L.LightningModule):
    """The module that a user would write without this library; it adds up the losses."""

    def __init__(self, trunk: Trunk, tasks: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = trunk.make()
        self.heads = nn.ModuleDict({f"t{i}": nn.Linear(trunk.width, CLASSES) for i in range(tasks)})

    def losses(self, batch: Any) -> Tensor:
        losses = []
        for columns in batch.values():
            features = self.trunk(columns["x"])
            losses += [
                F.cross_entropy(self.heads[name](features), columns[name]) for name in columns if name in self.heads
            ]
        return torch.stack(losses)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.losses(batch).sum()

    def configure_optimizers(self) -> Any:
        return adam([{"params": list(module.parameters())} for module in (self.trunk, self.heads)])


class Manual(HandWritten):
    """The module for Lightning from TorchJD's documentation."""

    def __init__(self, trunk: Trunk, tasks: int) -> None:
        super().__init__(trunk, tasks)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        self.differentiate(batch)
        optimizer.step()
        optimizer.zero_grad()

    def differentiate(self, batch: Any) -> None:
        raise NotImplementedError


class Autojac(Manual):
    def __init__(self, trunk: Trunk, tasks: int, **options: Any) -> None:
        super().__init__(trunk, tasks)
        self.aggregator, self.options = torchjd.aggregation.UPGrad(), options

    def differentiate(self, batch: Any) -> None:
        (columns,) = batch.values()
        features = self.trunk(columns["x"])
        losses = [F.cross_entropy(head(features), columns[name]) for name, head in self.heads.items()]
        mtl_backward(losses, features=features)
        jac_to_grad(self.trunk.parameters(), self.aggregator, **self.options)


class Autogram(Manual):
    def __init__(self, trunk: Trunk, tasks: int) -> None:
        super().__init__(trunk, tasks)
        self.weighting, self.engine = torchjd.aggregation.UPGradWeighting(), Engine(self.trunk, batch_dim=None)

    def differentiate(self, batch: Any) -> None:
        losses = self.losses(batch)
        losses.backward(self.weighting(self.engine.compute_gramian(losses)))  # type: ignore[no-untyped-call]


def ours(trunk: Trunk, tasks: int, balancer: Balancer | None = None, **options: Any) -> MultiTaskModule:
    """Return our module, with the weights of the others."""
    by_hand = HandWritten(trunk, tasks)
    made = [Task(f"t{i}", head=Multiclass(CLASSES)) for i in range(tasks)]
    encoder = HardSharing(by_hand.trunk, width=trunk.width)
    module = MultiTaskModule(made, encoder, balancer=balancer, optimizer=adam, **options)
    for name, head in by_hand.heads.items():
        module.heads[name].layers.load_state_dict(head.state_dict())  # type: ignore[union-attr]
    return module


def batches(trunk: Trunk, tasks: int, *, sources: bool = False) -> list[Any]:
    """Draw batches of one source, or of a source for each task, with labels as in batches of `MultiTaskDataModule`."""
    make = torch.Generator().manual_seed(0)
    names = [f"t{i}" for i in range(tasks)]
    labels = ours(trunk, tasks).routing

    def part(columns: Sequence[str]) -> dict[str, Tensor]:
        targets = {name: torch.randint(CLASSES, (ROWS,), generator=make) for name in columns}
        return {"x": torch.randn(ROWS, *trunk.inputs, generator=make), **targets}

    parts = {name: [name] for name in names} if sources else {"s": names}
    return [labels.label({source: part(columns) for source, columns in parts.items()}) for _ in range(4)]


# Timing

Maker = Callable[[], L.LightningModule]
Turn = dict[str, float]
"""Seconds of a step of each fit."""


class Fit:
    """A fit that waits in its loader until its turn, so that several fits can exist at once.

    Each has its own thread; only one of them runs at a time.
    """

    def __init__(self, module: L.LightningModule, batches: Sequence[Any]) -> None:
        self.module, self.batches = module, batches
        self.steps, self.seconds = 0, 0.0
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self._wait()

    def turn(self, steps: int) -> float:
        """Run this many steps, and return the seconds of one."""
        self.steps = steps
        self.go.release()
        self._wait()
        return self.seconds / max(steps, 1)

    def end(self) -> None:
        self.turn(0)
        self.thread.join()

    def __len__(self) -> int:
        return 10**9  # a loader of known length is not read ahead

    def __iter__(self) -> Iterator[Any]:
        feed = itertools.cycle(self.batches)
        while True:
            self.done.release()
            self.go.acquire()
            if not self.steps:
                return
            for _ in range(WARM):
                yield next(feed)
            start = time.process_time()
            for _ in range(self.steps):
                yield next(feed)
            self.seconds = time.process_time() - start

    def _wait(self) -> None:
        self.done.acquire()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        torch.set_num_threads(1)
        try:
            L.Trainer(accelerator="cpu", max_epochs=1, barebones=True).fit(self.module, self)
        except BaseException as error:
            self.error = error
        self.done.release()


@contextmanager
def alive(makers: Mapping[str, Maker], batches: Sequence[Any], steps: int) -> Iterator[dict[str, Fit]]:
    """Start a fit of each side, and run its first steps, in which optimizers and balancers create their state."""
    fits = {name: Fit(make(), batches) for name, make in makers.items()}
    for fit in fits.values():
        fit.turn(steps)
    yield fits
    for fit in fits.values():
        fit.end()


def take_turns(makers: Mapping[str, Maker], batches: Sequence[Any], trunk: Trunk, rounds: int) -> list[Turn]:
    """Time a step of each, in turns."""
    turns = []
    for number in range(rounds):
        order = list(makers) if number % 2 else list(makers)[::-1]
        with alive({name: makers[name] for name in order}, batches, trunk.steps) as fits:
            for _ in range(trunk.turns):
                turns.append({name: fits[name].turn(trunk.steps) for name in order})
                order.reverse()
    return turns


def ratios(turns: Sequence[Turn], name: str, to: str = "hand") -> list[float]:
    return [turn[name] / turn[to] for turn in turns]


def ratio(turns: Sequence[Turn], name: str, to: str = "hand") -> float:
    return statistics.median(ratios(turns, name, to))


def show(title: str, turns: Sequence[Turn], to: str = "hand") -> None:
    """Print the milliseconds of one side, and the ratios of the others to it with their middle half."""
    print(f"{title:24} {to} {statistics.median(turn[to] for turn in turns) * 1e3:.2f} ms")
    for name in turns[0]:
        if name != to:
            ordered = sorted(ratios(turns, name, to))
            low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
            print(f"  {name:28} {statistics.median(ordered):7.3f} x ({low:.3f} to {high:.3f})", flush=True)


# Parts


def all_balancers(family: type[Balancer]) -> dict[str, Any]:
    """Return the classes of a kind; all can be created without arguments."""
    found = {name: getattr(balancers, name) for name in balancers.__all__}
    return {name: of for name, of in found.items() if _is_method(of, family)}


def _is_method(of: Any, family: type[Balancer]) -> bool:
    methods = isinstance(of, type) and issubclass(of, family) and not of.__abstractmethods__
    return methods and of is not balancers.FromGramian


def loss(trunks: Mapping[str, Trunk], rounds: int) -> dict[str, float]:
    of_size: dict[str, list[float]] = defaultdict(list)
    of_balancer: dict[str, list[float]] = defaultdict(list)
    cells, noise = [], []
    for (name, trunk), tasks in itertools.product(trunks.items(), TASKS):
        some = all_balancers(LossBalancer) if name == "mlp" else {of.__name__: of for of in (Uncertainty, FAMO)}
        makers: dict[str, Maker] = {kind: partial(HandWritten, trunk, tasks) for kind in ("hand", "noise")}
        makers |= {kind: partial(ours, trunk, tasks, of()) for kind, of in some.items()}
        turns = take_turns(makers, batches(trunk, tasks), trunk, rounds)
        show(f"{name}, K={tasks}", turns)
        for kind in some:
            of_size[f"{name} {tasks}"] += ratios(turns, kind)
            of_balancer[kind] += ratios(turns, kind)
        cells += [ratio(turns, kind) for kind in some]
        noise.append(ratio(turns, "noise"))
    print("  ".join(f"{name} {statistics.median(of):.3f}" for name, of in {**of_size, **of_balancer}.items()))
    pooled = [statistics.median(of) for of in (*of_size.values(), *of_balancer.values())]
    return {"loss_max": max(pooled), "loss_max_cell": max(cells), "noise_max_cell": max(noise)}


def representation(trunks: Mapping[str, Trunk], rounds: int) -> dict[str, float]:
    some = [getattr(balancers, name) for name in ("UPGrad", "PCGrad", "MGDA", "CAGrad", "NashMTL")]
    figures = {}
    for tasks in (8, 40):
        cells = []
        for name, trunk in trunks.items():
            makers: dict[str, Maker] = {"hand": partial(HandWritten, trunk, tasks)}
            makers |= {of.__name__: partial(ours, trunk, tasks, of(), scope="representation") for of in some}
            turns = take_turns(makers, batches(trunk, tasks), trunk, rounds)
            show(f"{name}, K={tasks}", turns)
            cells += [ratio(turns, of.__name__) for of in some]
        figures[f"representation_max_k{tasks}"] = max(cells)
    return figures


def exact(trunks: Mapping[str, Trunk], rounds: int) -> dict[str, float]:
    """Compare UPGrad on the gradients of 8 tasks with TorchJD's engines; on each trunk the fastest one counts."""
    cells = {}
    for name, trunk in trunks.items():
        engines: dict[str, Maker] = {
            "autojac": partial(Autojac, trunk, 8),
            "autojac, no Jacobian": partial(Autojac, trunk, 8, optimize_gramian_computation=True),
            "autogram": partial(Autogram, trunk, 8),
        }
        turns = take_turns({**both(trunk), **engines}, batches(trunk, 8), trunk, rounds)
        best = min(engines, key=lambda engine: ratio(turns, engine))
        show(f"{name}, K=8", turns)
        cells[name] = ratio(turns, "ours", best)
        print(f"  {'ours / ' + best:28} {cells[name]:7.3f} x", flush=True)
    return {"exact_vs_torchjd_max_k8": max(cells.values()), **{f"exact_vs_torchjd_{n}_k8": c for n, c in cells.items()}}


def sources(trunks: Mapping[str, Trunk], rounds: int) -> dict[str, float]:
    """Measure a step with 8 sources of one task each, in which the gradients of all tasks cost one backward pass."""
    cells = {}
    for name, trunk in trunks.items():
        made = batches(trunk, 8, sources=True)
        turns = take_turns(both(trunk), made, trunk._replace(steps=1), rounds)
        show(f"{name}, 8 sources", turns)
        cells[name] = ratio(turns, "ours")
    trunk = TRUNKS["mlp"]
    shared = sum(p.numel() * p.element_size() for p in trunk.make().parameters())
    by_hand, by_us = (peak_bytes(make(), batches(trunk, 8, sources=True)) for make in both(trunk).values())
    return {"exact_sources_k8": max(cells.values()), "exact_sources_memory": (by_us - by_hand) / shared}


def both(trunk: Trunk) -> dict[str, Maker]:
    return {"hand": partial(HandWritten, trunk, 8), "ours": partial(ours, trunk, 8, UPGrad(), scope="parameters")}


def peak_bytes(module: L.LightningModule, batches: Sequence[Any]) -> int:
    """Measure the peak of the memory that the first steps allocate."""
    trace: Any
    with torch.profiler.profile(profile_memory=True) as trace:
        L.Trainer(accelerator="cpu", max_epochs=1, barebones=True).fit(module, Counted(batches))
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes: list[int] = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(changes))


def solver(trunks: Mapping[str, Trunk], rounds: int) -> dict[str, float]:
    figures = {}
    for tasks in (8, 40):
        drawn = [gramian(tasks, seed) for seed in range(8 * rounds)]
        took = {name: solver_ms(of(), drawn) for name, of in all_balancers(GradientBalancer).items()}
        print(f"K={tasks:<3} ms  " + "  ".join(f"{name} {ms:.3f}" for name, ms in took.items()), flush=True)
        figures[f"solver_ms_max_k{tasks}"] = max(took.values())
        figures |= {f"solver_ms_{name}_k{tasks}": ms for name, ms in took.items()}
    return figures


def gramian(tasks: int, seed: int) -> Tensor:
    """Multiply random gradients of different sizes; in every second draw they share a direction."""
    make = torch.Generator().manual_seed(seed)
    gradients = torch.randn(tasks, 16 * tasks, generator=make, dtype=torch.float64)
    if seed % 2:
        gradients += torch.randn(16 * tasks, generator=make, dtype=torch.float64)
    gradients *= torch.randn(tasks, 1, generator=make, dtype=torch.float64).exp()
    return gradients @ gradients.T


def solver_ms(balancer: GradientBalancer, drawn: Sequence[Tensor]) -> float:
    tasks = len(drawn[0])
    balancer.build([f"t{i}" for i in range(tasks)])
    balancer.observe(torch.ones(tasks), 0, 0)
    took = []
    for one in [drawn[0], *drawn]:  # the first one warms up
        start = time.process_time()
        balancer(one)
        took.append(time.process_time() - start)
    return statistics.median(took[1:]) * 1e3


# Bytes between processes

WAYS: dict[str, dict[str, Any]] = {
    "representation": {"scope": "representation"},
    "sketch": {"scope": "parameters", "sketch": 1024},
    "exact": {"scope": "parameters"},
}


def ddp(trunks: Mapping[str, Trunk], rounds: int) -> dict[str, float]:
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    with multiprocessing.get_context("fork").Pool(2) as ranks:  # a fork need not import everything again
        sent = ranks.starmap_async(count_bytes, [(0, port), (1, port)], chunksize=1).get(timeout=120)[0]
    print("bytes of a step of the MLP, K=8:  " + "  ".join(f"{name} {count:,}" for name, count in sent.items()))
    ratios = {f"ddp_bytes_ratio_{name}": sent[name] / sent["hand"] for name in WAYS}
    return {"ddp_bytes_hand": float(sent["hand"]), **ratios}


def count_bytes(rank: int, port: int) -> dict[str, int]:
    """Count, as one of two processes, the bytes that a step of each kind passes to collectives."""
    place = {"LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    trunk = TRUNKS["mlp"]
    made = batches(trunk, 8)
    ways = {kind: ours(trunk, 8, UPGrad(), **options) for kind, options in WAYS.items()}
    return {kind: bytes_of(module, made) for kind, module in {"hand": HandWritten(trunk, 8), **ways}.items()}


def bytes_of(module: L.LightningModule, made: Sequence[Any]) -> int:
    """Run some steps under DDP, with a hook for its own messages, and return the bytes of the last step."""
    counted = Counted(made)
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, barebones=True, callbacks=[Hook()])
    with counted.collectives():
        trainer.fit(module, counted)
    return counted.total - counted.before


class Hook(L.Callback):
    """Makes DDP send its buckets through `torch.distributed`, where they can be counted."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        wrapped: Any = trainer.strategy.model
        wrapped.register_comm_hook(None, allreduce_hook)


class Counted:
    """Batches that record how many bytes were sent before the last one was requested."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches, self.total, self.before = batches, 0, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.before = self.total
            yield batch

    @contextmanager
    def collectives(self) -> Iterator[None]:
        """Count the bytes of each tensor that is passed to a collective."""
        names = "all_reduce", "broadcast", "reduce", "all_gather", "all_gather_into_tensor", "reduce_scatter_tensor"
        plain = {name: getattr(dist, name) for name in names}
        for name, act in plain.items():
            setattr(dist, name, partial(self._act, act))
        yield
        for name, act in plain.items():
            setattr(dist, name, act)

    def _act(self, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        self.total += sum(tensor.nbytes for tensor in tensors)
        return act(*args, **kwargs)


PARTS = {part.__name__: part for part in (ddp, solver, loss, representation, exact, sources)}


def print_bars(figures: Mapping[str, float]) -> None:
    print(f"\n{'':44}{'figure':>8}   bar")
    for name, (says, most) in BARS.items():
        if name in figures:
            missed = "" if figures[name] <= most else ", missed"
            print(f"{says:44}{figures[name]:8.3f}   at most {most:g}{missed}")


def still() -> None:
    """Use one thread, no messages, and an allocator that keeps its pages, because returning them costs up to a tenth."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    libc: Any = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
        for option, value in ((-1, 1 << 30), (-3, 1 << 30), (-8, 1)):
            libc.mallopt(option, value)


def names(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=6, help="how often the fits of each cell are made anew")
    parser.add_argument("--only", type=names, default=list(PARTS), help=f"parts, of {','.join(PARTS)}")
    parser.add_argument("--trunks", type=names, default=list(TRUNKS), help=f"trunks, of {','.join(TRUNKS)}")
    options = parser.parse_args()
    still()
    figures: dict[str, float] = {}
    for name in options.only:
        start = time.perf_counter()
        figures |= PARTS[name]({trunk: TRUNKS[trunk] for trunk in options.trunks}, options.rounds)
        print(f"[{name}: {time.perf_counter() - start:.0f} s]\n", flush=True)
    print_bars(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
